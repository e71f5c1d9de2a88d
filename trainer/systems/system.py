"""A system: a frontend and the network that reads its features, under one name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

from streamtag.errors import SpecError
from streamtag.spec import Cell
from trainer.systems.bn_lstm import BNLSTMLayer, StepNorm
from trainer.systems.gru import GRULayer
from trainer.systems.lstm import LSTMLayer
from trainer.systems.recurrent import Dropout, Recurrent
from trainer.systems.wavefront import GRUStack
from trainer.systems.whole_clip import Blocks, Convolutional, Transposed

Front = Literal["scattering", "mel", "cqt"]
LAYERS: dict[str, type[LSTMLayer | BNLSTMLayer]] = {"LSTM": LSTMLayer, "BN-LSTM": BNLSTMLayer}
PREFIXES: dict[str, tuple[Front, int]] = {"Scat": ("scattering", 433), "Mel": ("mel", 96), "CQT": ("cqt", 84)}


@dataclass(frozen=True)
class Published:
    """What a paper reports of a system: parameters in thousands, ROC-AUC, and the paper and table."""

    parameters_k: int | None
    roc_auc: float
    source: str


@dataclass(frozen=True)
class System:
    """A frontend and a network.

    `front` is the frontend, and `inputs` the size of a step's input in the paper (for convolutions: of a frame). The
    family `recurrent` reads frame by frame, `transposed` a whole clip band by band, and `convolutional` one at once.
    `cell` is GRU, a key of LAYERS, or CNN. Of its stages, `carried` read a stream but once (see
    `streamtag.spec.ConvolutionalSpec`). `note` explains how the paper was read where it leaves a choice. `reset_after`,
    of GRUs: as in `streamtag.spec.NetworkSpec`.
    """

    name: str
    front: Front
    inputs: int
    family: Literal["recurrent", "transposed", "convolutional"]
    layers: int
    hidden: int
    cell: Cell | Literal["CNN"]
    channels: tuple[int, ...] = ()
    blocks: Blocks = ()
    carried: int = 0
    published: Published | None = None
    note: str = ""
    reset_after: bool = True

    @property
    def reads_frames(self) -> bool:
        """Return whether it reads frame by frame. Others read a whole clip; as a model file, the last 29 s."""
        return self.family == "recurrent"

    def build(self, inputs: int, outputs: int, dropout: Dropout | None = None) -> nn.Module:
        """Return the network for frames of `inputs` features; a transposed one reads `self.inputs` frames."""
        dropout = dropout or Dropout()
        if self.family == "convolutional":
            return Convolutional(self.channels, self.blocks, outputs, dropout)
        size = self.inputs if self.family == "transposed" else inputs
        sizes = [size, *[self.hidden] * (self.layers - 1)]
        common = self.hidden, outputs, dropout
        if self.cell == "GRU":
            gru = [GRULayer(inputs, self.hidden, self.reset_after) for inputs in sizes]
            network: Recurrent = GRUStack(gru, GRULayer.cells, *common)
        else:
            layer = LAYERS[self.cell]
            network = Recurrent([layer(inputs, self.hidden) for inputs in sizes], layer.cells, *common)
        return Transposed(network, self.inputs) if self.family == "transposed" else network

    def parameters(self, inputs: int, outputs: int) -> int:
        """Return the number of trained parameters as the paper counts them: without BN-LSTM's scales and shifts."""
        with torch.device("meta"):
            network = self.build(inputs, outputs)
        excluded = {id(w) for m in network.modules() if isinstance(m, StepNorm) for w in m.parameters()}
        return sum(math.prod(w.shape) for w in network.parameters() if w.requires_grad and id(w) not in excluded)


PATTERN = re.compile(r"(Scat|Mel|CQT)-([1-9]\d?)L-([1-9]\d{0,3})H-(GRU|LSTM|BN-LSTM)(-by-time)?")


def from_name(name: str) -> System:
    """Return a recurrent system of any size, e.g. Scat-2L-128H-GRU or Mel-3L-256H-LSTM-by-time.

    Raises SpecError for any other name.
    """
    found = PATTERN.fullmatch(name)
    if not found or (found[1] == "Scat") == bool(found[5]):
        raise SpecError(
            f"system {name!r}: not in the table of `python -m trainer systems`, nor of a form like"
            " Scat-2L-128H-GRU or Mel-2L-128H-LSTM-by-time"
        )
    front, inputs = PREFIXES[found[1]]
    return System(name, front, inputs, "recurrent", int(found[2]), int(found[3]), cast(Cell, found[4]))


def recurrent_name(front: str, layers: int, hidden: int, cell: Cell) -> str:
    """Return the name of the system with these recurrent layers that read a front end frame by frame."""
    prefix = next(prefix for prefix, (name, _) in PREFIXES.items() if name == front)
    return f"{prefix}-{layers}L-{hidden}H-{cell}" + ("" if front == "scattering" else "-by-time")
