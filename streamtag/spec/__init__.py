"""Settings with units: immutable, checked when they are created, and stored in the model file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, gcd
from typing import Any, Literal, Self, get_args

from streamtag.errors import SpecError
from streamtag.spec.base import Spec, is_finite
from streamtag.spec.network import (
    NETWORKS,
    Cell,
    ConvolutionalSpec,
    NetworkSpec,
    StackSpec,
    TransposedSpec,
    WindowedSpec,
    network_family,
)

__all__ = [
    "CATEGORIES", "FRONT_ENDS", "NETWORKS", "Cell", "Compression", "ConceptSpec", "ConvolutionalSpec", "CqtSpec",
    "FrontEndSpec", "MelSpec", "NetworkSpec", "NormalizationSpec", "ScatteringSpec", "SpectrogramSpec", "StackSpec",
    "TransposedSpec", "WindowedSpec", "front_end_kind", "network_family",
]  # fmt: skip

Compression = Literal["none", "log"]
MAX_HOP, MAX_FRAMES_PER_HOP = 16384, 64  # of spectrograms
CATEGORIES = ("instrument", "genre", "voice", "mood")  # of concepts, in the order of display


@dataclass(frozen=True)
class FrontEndSpec(Spec):
    """What all front ends have in common: one output of the network per hop.

    Output k belongs to `window` samples around sample hop·k and is emitted as soon as `lookahead` samples after that
    have arrived. For it the network reads the `frames_per_hop` frames that have become complete with the hop, which
    are `step` samples apart.
    """

    sample_rate: int = 16000
    hop: int = 4096
    window: int = 8192
    lookahead: int = 6144

    def __post_init__(self) -> None:
        self._check_integers(*(f.name for f in fields(self) if f.type == "int"))
        fits = self.window == 2 * self.hop and 2 * self.lookahead == 3 * self.hop
        self._check(fits, "window must be 2 hops and lookahead 1.5 hops")

    @property
    def step(self) -> int:
        """Return the samples from one frame to the next."""
        return self.hop

    @property
    def frames_after(self) -> int:
        """Return how many samples after its centre a frame needs, at most."""
        return self.lookahead

    @property
    def frames_per_hop(self) -> int:
        return self.hop // self.step

    @property
    def first_frame(self) -> int:
        """Return the number of the first frame that output 0 reads. Frames below 0 are left out."""
        return (self.lookahead - self.frames_after) // self.step - self.frames_per_hop + 1

    @property
    def frames_at_once(self) -> int:
        """Return the size of groups that divide a hop's frames so that none has frames both below 0 and above."""
        return gcd(self.frames_per_hop, self.first_frame)

    @property
    def hop_s(self) -> float:
        return self.hop / self.sample_rate

    @property
    def window_s(self) -> float:
        return self.window / self.sample_rate

    @property
    def lookahead_s(self) -> float:
        return self.lookahead / self.sample_rate

    def frame_count(self, samples: int) -> int:
        """Return the number of outputs for a whole signal: those whose centre is inside it."""
        return -(-samples // self.hop)

    def outputs_of(self, frames: int) -> int:
        """Return the number of outputs for so many frames in a row, from a hop's end or from frame 0 to a hop's end."""
        return (frames + max(0, -self.first_frame)) // self.frames_per_hop


@dataclass(frozen=True)
class ScatteringSpec(FrontEndSpec):
    """The scattering front end, in kymatio's units: J octaves, Q wavelets per octave, low-pass scale T.

    There is a frame per hop. It represents `window` samples.
    """

    J: int = 10
    Q: int = 8
    T: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(self.hop == 4 * self.T, "hop must be 4 T")
        self._check(self.T == 2**self.J, "T must be 2^J")


@dataclass(frozen=True)
class SpectrogramSpec(FrontEndSpec):
    """Logarithms of amplitudes in `bins` bands, a frame per `spacing` samples, centred at sample spacing·m.

    Amplitudes below `floor` count as it: the logarithm of digital silence would be infinite.
    """

    bins: int = 96
    spacing: int = 256
    floor: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(self.hop % self.spacing == 0, "hop must be a multiple of spacing")
        self._check(self.hop <= MAX_HOP and self.frames_per_hop <= MAX_FRAMES_PER_HOP, "hop is too long for spacing")
        self._check(is_finite(self.floor) and 0 < self.floor < 1, "floor must lie between 0 and 1")
        self._check(self.frames_after <= self.lookahead, "a frame must not need more audio than the look-ahead")

    @property
    def step(self) -> int:
        return self.spacing


@dataclass(frozen=True)
class MelSpec(SpectrogramSpec):
    """Log-mel spectrogram: Slaney's bands from 0 Hz to half the sample rate, of windows of n_fft samples (Hann)."""

    n_fft: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(self.n_fft % 2 == 0, "n_fft must be even")
        self._check(2 * self.bins <= self.n_fft, "at most half as many bins as n_fft")

    @property
    def frames_after(self) -> int:
        return self.n_fft // 2


@dataclass(frozen=True)
class CqtSpec(SpectrogramSpec):
    """Logarithm of a constant-Q transform: `bins` frequencies from `lowest_hz` (C1) on."""

    bins: int = 84
    bins_per_octave: int = 12
    lowest_hz: float = 32.703195662574829

    def __post_init__(self) -> None:
        self._check_integers("bins", "bins_per_octave", "sample_rate")
        self._check(self.bins_per_octave <= 96, "at most 96 bins per octave")
        self._check(is_finite(self.lowest_hz) and self.lowest_hz >= 1, "lowest_hz must be a frequency")
        self._check(self.bins <= 20 * self.bins_per_octave, "at most 20 octaves")
        self._check(max(self.frequencies) < self.sample_rate / 2, "its frequencies must lie below half the sample rate")
        super().__post_init__()

    @property
    def frequencies(self) -> list[float]:
        """Return the centre frequencies in Hz, ascending."""
        return [self.lowest_hz * 2.0 ** (n / self.bins_per_octave) for n in range(self.bins)]

    @property
    def lengths(self) -> list[int]:
        """Return the length of each frequency's kernel in samples, descending."""
        cycles = 1 / (2 ** (1 / self.bins_per_octave) - 1)
        return [ceil(cycles * self.sample_rate / hz) for hz in self.frequencies]

    @property
    def frames_after(self) -> int:
        return (self.lengths[0] + 1) // 2


FRONT_ENDS: dict[str, type[FrontEndSpec]] = {"scattering": ScatteringSpec, "mel": MelSpec, "cqt": CqtSpec}


def front_end_kind(spec: FrontEndSpec) -> str:
    """Return the key of FRONT_ENDS."""
    return next(kind for kind, cls in FRONT_ENDS.items() if isinstance(spec, cls))


@dataclass(frozen=True)
class NormalizationSpec(Spec):
    """The steps from frames to network inputs: S2 divided by its S1, compression, standardisation per path.

    `floor` is the amplitude (full scale = 1) below which S0 and S1 count as silence. `divide_s1`: S1 is divided by S0,
    too, as in Eq. 4 of Song et al. 2018, unlike in its section 5.2.
    """

    compression: Compression = "log"
    floor: float = 1e-5
    divide_s1: bool = False

    def __post_init__(self) -> None:
        self._check(self.compression in get_args(Compression), f"unknown compression {self.compression!r}")
        self._check(isinstance(self.floor, float) and 0 < self.floor < 1, "floor must lie between 0 and 1")
        self._check(isinstance(self.divide_s1, bool), "divide_s1 must be true or false")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create the settings. Files from before there was a choice do not divide S1. Raises SpecError."""
        return super().from_dict({"divide_s1": False, **values})


@dataclass(frozen=True)
class ConceptSpec(Spec):
    """Tags that mean the same to a listener, and the calibrated probability that any of them applies.

    With u = 1 - (1 - p1)(1 - p2)... over its tags' probabilities, the concept's is sigmoid(scale * logit(u) + offset).
    threshold: the probability from which on it counts as present; None: there is no evidence for one, so it never
    counts as present.
    """

    name: str
    category: str
    tags: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0
    threshold: float | None = 0.5

    def __post_init__(self) -> None:
        self._check(isinstance(self.name, str) and self.name != "", "a concept needs a name")
        self._check(self.category in CATEGORIES, f"{self.name}: category must be one of {', '.join(CATEGORIES)}")
        are_names = isinstance(self.tags, tuple) and all(isinstance(tag, str) for tag in self.tags)
        self._check(are_names and len(self.tags) > 0, f"{self.name}: tags must be names, and at least one")
        self._check(len(set(self.tags)) == len(self.tags), f"{self.name}: a tag occurs twice")
        for name in ("scale", "offset"):
            self._check(is_finite(getattr(self, name)), f"{self.name}: {name} must be a finite number")
        level = self.threshold
        is_level = level is None or (is_finite(level) and 0 < level < 1)
        self._check(is_level, f"{self.name}: threshold must lie between 0 and 1, or be null")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create a concept from JSON, where its tags are a list. Raises SpecError as the others do."""
        if not isinstance(values, dict):
            raise SpecError(f"{cls.__name__}: a concept must be an object")
        tags = values.get("tags")
        return super().from_dict({**values, "tags": tuple(tags)} if isinstance(tags, list) else values)
