"""Settings with units: immutable, checked when they are created, and stored in the model file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Literal, Self, get_args

from streamtag.errors import SpecError

Compression = Literal["none", "log"]
Cell = Literal["GRU", "LSTM", "BN-LSTM"]
CATEGORIES = ("instrument", "genre", "voice", "mood")  # of concepts, in the order of display


@dataclass(frozen=True)
class _Spec:
    """Numbers and words that survive a round trip through JSON."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create the settings. Raises SpecError if a field is missing, unknown or of another type."""
        known = {f.name for f in fields(cls)}
        if set(values) != known:
            wrong = sorted(set(values) ^ known)
            raise SpecError(f"{cls.__name__}: missing or unknown fields: {', '.join(wrong)}")
        return cls(**values)

    def _check(self, ok: bool, message: str) -> None:
        if not ok:
            raise SpecError(f"{type(self).__name__}: {message}")

    def _check_integers(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
            self._check(whole, f"{name} must be a positive whole number, not {value!r}")


@dataclass(frozen=True)
class ScatteringSpec(_Spec):
    """The scattering front end, in kymatio's units: J octaves, Q wavelets per octave, low-pass scale T.

    A frame represents `window` samples, frames are `hop` samples apart, and frame k is emitted as soon as
    `lookahead` samples after its centre (sample hop·k) have arrived.
    """

    sample_rate: int = 16000
    J: int = 10
    Q: int = 8
    T: int = 1024
    hop: int = 4096
    window: int = 8192
    lookahead: int = 6144

    def __post_init__(self) -> None:
        self._check_integers("sample_rate", "J", "Q", "T", "hop", "window", "lookahead")
        fits = self.hop == 4 * self.T and self.window == 2 * self.hop and 2 * self.lookahead == 3 * self.hop
        self._check(fits, "hop must be 4 T, window 2 hops and lookahead 1.5 hops")
        self._check(self.T == 2**self.J, "T must be 2^J")

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
        """Return the number of frames of a whole signal: those whose centre is inside it."""
        return -(-samples // self.hop)


@dataclass(frozen=True)
class NormalizationSpec(_Spec):
    """The steps from frames to network inputs: S2 divided by its S1, compression, standardisation per path.

    `floor` is the amplitude (full scale = 1) below which S0 and S1 count as silence.
    """

    compression: Compression = "log"
    floor: float = 1e-5

    def __post_init__(self) -> None:
        self._check(self.compression in get_args(Compression), f"unknown compression {self.compression!r}")
        self._check(isinstance(self.floor, float) and 0 < self.floor < 1, "floor must lie between 0 and 1")


@dataclass(frozen=True)
class NetworkSpec(_Spec):
    """The stack of recurrent layers of one kind of cell, and its sigmoid output layer."""

    inputs: int = 374
    hidden: int = 512
    layers: int = 5
    outputs: int = 50
    cell: Cell = "GRU"

    def __post_init__(self) -> None:
        self._check_integers("inputs", "hidden", "layers", "outputs")
        self._check(self.cell in get_args(Cell), f"unknown cell {self.cell!r}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create the settings. Files from before there was a choice of cells hold GRUs. Raises SpecError."""
        return super().from_dict({"cell": "GRU", **values})


@dataclass(frozen=True)
class ConceptSpec(_Spec):
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
            self._check(_is_finite(getattr(self, name)), f"{self.name}: {name} must be a finite number")
        level = self.threshold
        is_level = level is None or (_is_finite(level) and 0 < level < 1)
        self._check(is_level, f"{self.name}: threshold must lie between 0 and 1, or be null")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Create a concept from JSON, where its tags are a list. Raises SpecError as the others do."""
        if not isinstance(values, dict):
            raise SpecError(f"{cls.__name__}: a concept must be an object")
        tags = values.get("tags")
        return super().from_dict({**values, "tags": tuple(tags)} if isinstance(tags, list) else values)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
