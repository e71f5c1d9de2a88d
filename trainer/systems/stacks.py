"""The recurrent layers of a trained network as those of a model file, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from streamtag.errors import SpecError
from streamtag.model.lstm import StackedBNLSTM
from streamtag.model.network import STACKS
from streamtag.model.recurrent import RecurrentStack
from streamtag.spec import Cell, NetworkSpec
from trainer.systems.bn_lstm import EPSILON, BNLSTMLayer, StepNorm
from trainer.systems.recurrent import Recurrent

PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def to_stack(network: Recurrent, cell: Cell, inputs: int) -> RecurrentStack[object]:
    """Return the layers of a network whose input has `inputs` features, with copies of its weights."""
    stack = STACKS[cell](NetworkSpec(inputs, network.hidden, len(network.layers), network.head.out_features, cell))
    if isinstance(stack, StackedBNLSTM):
        weights = {
            f"layers.{number}.{name}": tensor
            for number, layer in enumerate(network.layers)
            if isinstance(layer, BNLSTMLayer)
            for name, tensor in _folded(layer).items()
        }
    else:
        own = network.state_dict()
        weights = {theirs: own[ours] for theirs, ours in _weight_names(cell, len(network.layers)).items()}
    stack.load_state_dict(weights)
    return stack


def from_stack(stack: RecurrentStack[object]) -> dict[str, Tensor]:
    """Return the weights of a network with these layers. Raises SpecError for BN-LSTM: its statistics are folded in."""
    spec = stack.spec
    if spec.cell == "BN-LSTM":
        raise SpecError("a model file with BN-LSTM cannot be trained further, only the run that it was made from")
    own = stack.state_dict()
    return {ours: own[theirs] for theirs, ours in _weight_names(spec.cell, spec.layers).items()}


def _weight_names(cell: Cell, layers: int) -> dict[str, str]:
    """Return the names of a network's weights by their names in a stack of so many layers."""
    kind = cell.lower()
    return {
        f"{kind}.{part}_l{number}": f"layers.{number}.{kind}.{part}_l0" for number in range(layers) for part in PARTS
    }


def _folded(layer: BNLSTMLayer) -> dict[str, Tensor]:
    """Return the tensors of a model file's layer: each normalization is a gain and an offset."""
    gain_x, offset_x = _gain_and_offset(layer.norm_x)
    gain_h, offset_h = _gain_and_offset(layer.norm_h)
    gain_c, offset_c = _gain_and_offset(layer.norm_c)
    offset = offset_x + offset_h + layer.bias.detach()
    weights = {"weight_ih": layer.weight_ih.detach(), "weight_hh": layer.weight_hh.detach()}
    return {
        **weights, "gain_x": gain_x, "gain_h": gain_h, "offset": offset, "gain_c": gain_c, "offset_c": offset_c,
    }  # fmt: skip


def _gain_and_offset(norm: StepNorm) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        gain = norm.scale * torch.rsqrt(norm.variance + EPSILON)
        offset = -norm.mean * gain
        return gain, offset if norm.shift is None else offset + norm.shift
