"""The layers of a trained network as those of a model file, and back."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from streamtag.errors import SpecError
from streamtag.model.lstm import StackedBNLSTM
from streamtag.model.network import make_network
from streamtag.model.recurrent import FrameNetwork
from streamtag.spec import ConvolutionalSpec, FrontEndSpec, NetworkSpec, StackSpec, TransposedSpec
from trainer.systems.bn_lstm import EPSILON, BNLSTMLayer, StepNorm
from trainer.systems.system import System

PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
STAGE_PARTS = {  # of a stage of convolutions: the name in a model file, and in a network
    "convolution.weight": "0.weight", "convolution.bias": "0.bias", "gain": "1.weight", "offset": "1.bias",
    "mean": "1.running_mean", "variance": "1.running_var",
}  # fmt: skip
WINDOW_S = 29.0  # that networks of whole clips read as a model file: about the length of the paper's clips
STRIDE_HOPS = 4  # from one evaluation of theirs to the next


def to_stack(system: System, network: nn.Module, front_end: FrontEndSpec, inputs: int) -> FrameNetwork[Any]:
    """Return the layers of a system's network, whose input has `inputs` features, with copies of its weights."""
    stack = make_network(_spec(system, network, front_end, inputs))
    if isinstance(stack, StackedBNLSTM):
        weights = {
            f"layers.{number}.{name}": tensor
            for number, layer in enumerate(network.layers)  # type: ignore[arg-type]
            if isinstance(layer, BNLSTMLayer)
            for name, tensor in _folded(layer).items()
        }
    else:
        own = network.state_dict()
        weights = {theirs: own[ours] for theirs, ours in _weight_names(stack.spec).items()}
    stack.load_state_dict(weights)
    return stack


def from_stack(stack: FrameNetwork[Any], head: nn.Linear) -> dict[str, Tensor]:
    """Return the weights of a network with these layers and this output layer.

    Raises SpecError for BN-LSTM: its statistics are folded in.
    """
    spec = stack.spec
    if isinstance(spec, NetworkSpec) and spec.cell == "BN-LSTM":
        raise SpecError("a model file with BN-LSTM cannot be trained further, only the run that it was made from")
    own, prefix = stack.state_dict(), "network." if isinstance(spec, TransposedSpec) else ""
    weights = {ours: own[theirs] for theirs, ours in _weight_names(spec).items()}
    return weights | {f"{prefix}head.{part}": tensor for part, tensor in head.state_dict().items()}


def _spec(system: System, network: nn.Module, front_end: FrontEndSpec, inputs: int) -> StackSpec:
    """Return the settings of the layers in a model file."""
    outputs = network.head.out_features  # type: ignore[union-attr]
    common: dict[str, Any] = {"inputs": inputs, "hidden": system.hidden, "outputs": outputs}
    layers: dict[str, Any] = {"layers": system.layers, "cell": system.cell, "reset_after": system.reset_after}
    if system.reads_frames:
        return NetworkSpec(**common, **layers)
    hop = front_end.frames_per_hop
    common |= {"frames": ceil(WINDOW_S * front_end.sample_rate / front_end.step), "hop": hop}
    common["stride"] = STRIDE_HOPS * hop
    if system.family == "convolutional":
        stages: dict[str, Any] = {"channels": system.channels, "blocks": tuple(system.blocks)}
        return ConvolutionalSpec(**common, **stages, carried=system.carried)
    return TransposedSpec(**common, **layers, steps=system.inputs)


def _weight_names(spec: StackSpec) -> dict[str, str]:
    """Return the names of a network's weights by their names in a model file."""
    if isinstance(spec, ConvolutionalSpec):
        stages = range(len(spec.channels))
        return {f"stages.{n}.{theirs}": f"stages.{n}.{ours}" for n in stages for theirs, ours in STAGE_PARTS.items()}
    if isinstance(spec, TransposedSpec):
        return {f"stack.{theirs}": f"network.{ours}" for theirs, ours in _weight_names(spec.recurrent).items()}
    assert isinstance(spec, NetworkSpec)
    kind = spec.cell.lower()
    return {
        f"{kind}.{part}_l{number}": f"layers.{number}.{kind}.{part}_l0"
        for number in range(spec.layers)
        for part in PARTS
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
