"""Settings of the network behind the front end: recurrent layers, or one that reads the last 29 s again and again.

A model file names its family, a key of NETWORKS, unless it is recurrent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import Any, Literal, Self, get_args

from streamtag.spec.base import Spec

Cell = Literal["GRU", "LSTM", "BN-LSTM"]
MAX_WINDOW = 230_000  # values of a window: a stream's state holds them, and may have 1 MiB
MAX_IMAGE = 1 << 26  # values between two stages of convolutions


@dataclass(frozen=True, kw_only=True)
class StackSpec(Spec):
    """What all networks have in common: features of a frame in, a vector of `hidden` values out, `outputs` tags."""

    inputs: int = 374
    hidden: int = 512
    outputs: int = 50

    def __post_init__(self) -> None:
        self._check_integers("inputs", "hidden", "outputs")

    @property
    def window(self) -> int:
        """Return how many frames it reads at once, or 0 if it reads frame by frame."""
        return 0


@dataclass(frozen=True, kw_only=True)
class NetworkSpec(StackSpec):
    """The stack of recurrent layers of one kind of cell, and its sigmoid output layer.

    `reset_after`, of GRUs: the reset gate r multiplies the product with the state, n = tanh(W x + b + r (U h)), as in
    cuDNN and PyTorch. Otherwise it is inside the product, n = tanh(W x + b + U (r h)), as in Cho et al. 2014.
    """

    layers: int = 5
    cell: Cell = "GRU"
    reset_after: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers("layers")
        self._check(self.cell in get_args(Cell), f"unknown cell {self.cell!r}")
        is_valid = self.reset_after is True or (self.reset_after is False and self.cell == "GRU")
        self._check(is_valid, "reset_after must be true or, for a GRU, false")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create the settings. Files from before there was a choice of cells hold PyTorch's GRUs. Raises SpecError."""
        return super().from_dict({"cell": "GRU", "reset_after": True, **values})


@dataclass(frozen=True, kw_only=True)
class WindowedSpec(StackSpec):
    """A network over the last `frames` frames, or as many as there have been. There are `hop` frames per hop.

    It is evaluated every `stride` frames, in the first `stride` frames with every hop; until then it repeats.
    """

    frames: int = 1813
    hop: int = 16
    stride: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers("frames", "hop", "stride")
        self._check(self.stride % self.hop == 0, "stride must be a multiple of hop")
        self._check(self.stride <= self.frames, "stride must not exceed frames")
        self._check(self.frames <= MAX_WINDOW, f"a window has more than {MAX_WINDOW:,} frames")

    @property
    def window(self) -> int:
        return self.frames

    @property
    def phase(self) -> int:
        """Return how many frames a stream's first hop leaves for the network: a hop ends with each `hop` more."""
        return self.hop // 2


@dataclass(frozen=True, kw_only=True)
class ConvolutionalSpec(WindowedSpec):
    """Stages of 3 x 3 convolutions with `channels` outputs, each followed by the maximum over (features, frames).

    The first `carried` stages read a stream from its beginning, each frame once, and the others what these give for a
    window, which begins with one of their columns.
    """

    channels: tuple[int, ...] = (128, 384, 768, 2048)
    blocks: tuple[tuple[int, int], ...] = ((2, 4), (4, 5), (3, 8), (4, 8))
    carried: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        blocks = self.blocks if _are_tuples(self.blocks) else ()
        self._check(0 < len(blocks) <= 16, "blocks must be pairs of whole numbers, 16 at most")
        self._check(all(len(block) == 2 and _are_sizes(block) for block in blocks), "blocks must be pairs of sizes")
        self._check(isinstance(self.channels, tuple) and _are_sizes(self.channels), "channels must be whole numbers")
        self._check(len(self.channels) == len(blocks), "there must be as many channels as blocks")
        self._check(self.channels[-1] == self.hidden, "the last of the channels must be hidden")
        self._check(max(map(prod, self.images)) <= MAX_IMAGE, f"a stage has more than {MAX_IMAGE:,} values")
        self._check_integers("carried")
        self._check(self.carried <= len(blocks), "carried must not exceed the number of stages")
        self._check(self.context <= self.grid <= self.frames, "blocks of carried stages are too narrow or too wide")
        size = self.tail * self.inputs + self.columns * prod(self.column)
        self._check(size <= MAX_WINDOW, f"a state has more than {MAX_WINDOW:,} values")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create the settings from JSON, where tuples are lists. Raises SpecError."""
        return super().from_dict({name: _as_tuples(value) for name, value in values.items()})

    @property
    def grid(self) -> int:
        """Return the frames of a column of the carried stages."""
        return prod(wide for _, wide in self.blocks[: self.carried])

    @property
    def reach(self) -> int:
        """Return how many frames on either side a column of the carried stages depends on."""
        return sum(prod(wide for _, wide in self.blocks[:n]) for n in range(self.carried))

    @property
    def context(self) -> int:
        """Return `reach`, rounded up to what the last of the carried stages counts as one."""
        unit = self.grid // self.blocks[self.carried - 1][1]
        return -(-self.reach // unit) * unit

    @property
    def tail(self) -> int:
        """Return how many of the last frames an evaluation reads: those of no final column, and their context."""
        return self.context + self.grid + self.reach + self.stride

    @property
    def column(self) -> tuple[int, int]:
        """Return the (channels, features) of a column of the carried stages."""
        channels, features, _ = self.images[self.carried - 1]
        return channels, ceil(features / self.blocks[self.carried - 1][0])

    @property
    def columns(self) -> int:
        """Return how many final columns of the carried stages a window may have."""
        return self.frames // self.grid

    @property
    def images(self) -> list[tuple[int, int, int]]:
        """Return the (channels, features, frames) of each stage of a window, before the maximum."""
        images, features, frames = [], self.inputs, self.frames
        for channels, (high, wide) in zip(self.channels, self.blocks, strict=True):
            images.append((channels, features, frames))
            features, frames = ceil(features / high), ceil(frames / wide)
        return images


@dataclass(frozen=True, kw_only=True)
class TransposedSpec(WindowedSpec):
    """Recurrent layers over a window on its side: a step is one of the `inputs` bands, from low to high.

    Its features are the window's frames, averaged to `steps`. The output is that for the last band. The layers are as
    NetworkSpec has them.
    """

    layers: int = 5
    cell: Cell = "GRU"
    reset_after: bool = True
    steps: int = 1366

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_integers("layers", "steps")
        _ = self.recurrent
        self._check(self.frames * self.inputs <= MAX_WINDOW, f"a window has more than {MAX_WINDOW:,} features")
        self._check(self.cell in ("GRU", "LSTM"), f"unknown cell {self.cell!r} of a transposed network")
        self._check(self.steps * self.inputs <= MAX_WINDOW, f"{self.inputs} bands of more than {MAX_WINDOW:,} values")

    @property
    def recurrent(self) -> NetworkSpec:
        """Return the settings of the layers, whose steps are bands."""
        sizes = {"inputs": self.steps, "hidden": self.hidden, "outputs": self.outputs}
        return NetworkSpec(**sizes, layers=self.layers, cell=self.cell, reset_after=self.reset_after)


NETWORKS: dict[str, type[StackSpec]] = {
    "recurrent": NetworkSpec,
    "convolutional": ConvolutionalSpec,
    "transposed": TransposedSpec,
}


def network_family(spec: StackSpec) -> str:
    """Return the key of NETWORKS."""
    return next(family for family, cls in NETWORKS.items() if isinstance(spec, cls))


def _are_tuples(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, tuple) for value in values)


def _are_sizes(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 16 for value in values)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
