"""What was heard between two times: for how long each concept was present in each stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamtag.history.reader import HistoryReader, Presence
from streamtag.inference.presence import category_rank


@dataclass(frozen=True)
class ConceptTotal:
    """A concept in a stream and range. seconds: for which it was on; share: of what was heard; times: how often it
    came on or was on at the beginning; first_at, last_at: the first and last moment at which it was on."""

    concept: str
    category: str
    seconds: float
    share: float
    times: int
    first_at: float
    last_at: float

    def to_dict(self) -> dict[str, Any]:
        rounded = {"seconds": round(self.seconds, 3), "share": round(self.share, 4)}
        return vars(self) | rounded | _rounded(self.first_at, self.last_at)


@dataclass(frozen=True)
class StreamTotal:
    """A stream in a range. heard_s: length of its audio without what was lost; lost_s: of that, in this many gaps.

    first_at, last_at: of what was heard. concepts: by category, the longest first.
    """

    stream: str
    first_at: float
    last_at: float
    heard_s: float
    lost_s: float
    gaps: int
    concepts: tuple[ConceptTotal, ...]

    def to_dict(self) -> dict[str, Any]:
        rounded = {"heard_s": round(self.heard_s, 3), "lost_s": round(self.lost_s, 3)}
        concepts = {"concepts": [concept.to_dict() for concept in self.concepts]}
        return vars(self) | rounded | _rounded(self.first_at, self.last_at) | concepts


def summarize(
    reader: HistoryReader,
    from_at: float,
    to_at: float,
    streams: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
    consumers: Sequence[Callable[[Presence], None]] = (),
) -> list[StreamTotal]:
    """Return the totals of every stream that was heard in the range, by name. consumers: get every presence."""
    found: dict[str, _Accumulator] = {}
    for session in reader.sessions(from_at, to_at, streams):
        first_at, last_at = max(session.start_at, from_at), min(session.last_at, to_at)
        found.setdefault(session.stream, _Accumulator(first_at, last_at)).add_audio(first_at, last_at)
    for gap in reader.gaps(from_at, to_at, list(found)):
        found[gap.stream].lost_s += gap.lost_s
        found[gap.stream].gaps += 1
    for presence in reader.presences(from_at, to_at, list(found), concepts):
        found[presence.stream].add_presence(presence, from_at, to_at)
        for consume in consumers:
            consume(presence)
    return [stream.total(name) for name, stream in found.items()]


@dataclass
class _Accumulator:
    first_at: float
    last_at: float
    audio_s: float = 0.0
    lost_s: float = 0.0
    gaps: int = 0
    concepts: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # seconds, times, first_at, last_at

    def add_audio(self, first_at: float, last_at: float) -> None:
        self.first_at, self.last_at = min(self.first_at, first_at), max(self.last_at, last_at)
        self.audio_s += last_at - first_at

    def add_presence(self, presence: Presence, from_at: float, to_at: float) -> None:
        on_at, off_at = max(presence.on_at, from_at), min(presence.off_at, to_at)
        key = presence.category, presence.concept
        seconds, times, first_at, last_at = self.concepts.get(key, (0.0, 0, on_at, off_at))
        self.concepts[key] = [seconds + off_at - on_at, times + 1, min(first_at, on_at), max(last_at, off_at)]

    def total(self, name: str) -> StreamTotal:
        heard_s = max(0.0, self.audio_s - self.lost_s)
        concepts = [
            ConceptTotal(concept, category, seconds, min(1.0, seconds / max(heard_s, 1e-9)), int(times), *moments)
            for (category, concept), (seconds, times, *moments) in self.concepts.items()
        ]
        concepts.sort(key=lambda total: (category_rank(total.category), total.category, -total.seconds, total.concept))
        return StreamTotal(name, self.first_at, self.last_at, heard_s, self.lost_s, self.gaps, tuple(concepts))


def _rounded(first_at: float, last_at: float) -> dict[str, float]:
    return {"first_at": round(first_at, 3), "last_at": round(last_at, 3)}
