"""What is known of a stream until it is stored: presences, gaps and the means of minutes. No clock, file or thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from streamtag.protocol.messages import Concept, End, Event, Frame, Gap, Hello

MINUTE_S = 60


@dataclass(frozen=True)
class ModelInfo:
    """What computed. fingerprint: of the weights, empty where it is unknown."""

    name: str
    fingerprint: str
    tags: tuple[str, ...]
    concepts: tuple[Concept, ...]

    @classmethod
    def of(cls, hello: Hello, fingerprint: str) -> ModelInfo:
        return cls(hello.model, fingerprint, hello.tags, hello.concepts)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Tags, then concepts [L]."""
        return (*self.tags, *(concept.name for concept in self.concepts))

    @cached_property
    def columns(self) -> dict[str, int]:
        """The place among the labels of what an event names: a concept, or a tag in a model without concepts."""
        return {name: column for column, name in enumerate(self.labels)}

    @cached_property
    def categories(self) -> dict[str, str]:
        return {concept.name: concept.category for concept in self.concepts}


@dataclass(eq=False)
class Presence:
    """A concept that is on, or was. on_s, off_s: stream time. id: of its row, None until it is stored."""

    session: Session
    concept: str
    on_s: float
    peak: float
    off_s: float | None = None
    total: float = 0.0  # of the probabilities
    frames: int = 0
    id: int | None = None

    def add(self, probability: float) -> None:
        self.peak = max(self.peak, probability)
        self.total += probability
        self.frames += 1

    @property
    def mean(self) -> float:
        return self.total / self.frames if self.frames else self.peak


@dataclass(eq=False)
class LostAudio:
    session: Session
    start_s: float
    lost_s: float


@dataclass(eq=False)
class Minute:
    """number: Unix time // 60. sums [L]: of the probabilities of its frames."""

    session: Session
    number: int
    sums: NDArray[np.float64]
    frames: int = 0

    @property
    def means(self) -> bytes:
        return np.rint(255 / max(1, self.frames) * self.sums).astype(np.uint8).tobytes()


class Session:
    """One uninterrupted run of a stream. What is complete is given to `keep`; the rest is in `present` and `minute`.

    The wall-clock time of a position is `base_at` plus the position. end_s: the furthest position that is known, after
    a gap that of its end. seen_from_s: from where on events are known. id: of its row, None until it is stored.
    """

    def __init__(
        self, stream: str, source: str, model: ModelInfo, base_at: float, start_s: float, keep: Callable[[Row], None]
    ) -> None:
        self.id: int | None = None
        self.stream, self.source, self.model = stream, source, model
        self.base_at, self.start_s = base_at, start_s
        self.last_s = self.end_s = self.seen_from_s = start_s
        self.origin_s: float | None = None  # where the stream began, if this or an earlier session saw it
        self.frames = 0
        self.has_ended = False
        self.is_changed = True  # since it was stored
        self.present: dict[str, Presence] = {}
        self.minute: Minute | None = None
        self._values = np.zeros(len(model.labels))  # of the newest frame
        self._keep = keep

    def at(self, position_s: float) -> float:
        """Return the wall-clock time of a position."""
        return self.base_at + position_s

    def forget_rows(self) -> None:
        """The file with the rows is gone: all that is not complete is stored again."""
        self.id = None
        for presence in self.present.values():
            presence.id = None

    def add_frame(self, frame: Frame, time_s: float) -> None:
        """time_s: its centre, in stream time."""
        labels = self.model.labels
        values = np.clip(frame.values_of(labels, len(self.model.tags), 0.0), 0.0, 1.0)
        self._values = values
        number = int(self.at(time_s) // MINUTE_S)
        if self.minute is None or number > self.minute.number:
            self._complete_minute()
            self.minute = Minute(self, number, np.zeros(len(values)))
        self.minute.sums += values
        self.minute.frames += 1
        for concept, presence in self.present.items():
            presence.add(self._value(concept))
        self.frames += 1
        if frame.frame == 0:
            self.origin_s = time_s
        self._advance(time_s)

    def add_event(self, event: Event) -> None:
        self.switch(event.concept or event.tag, event.state == "on", event.time)

    def switch(self, concept: str, is_on: bool, time_s: float) -> None:
        """Note that a concept went on or off. One that is on already, or off, stays so.

        What goes off without having gone on was on before events were seen.
        """
        presence = self.present.get(concept)
        if is_on and presence is None:
            presence = self.present[concept] = Presence(self, concept, time_s, self._value(concept))
            presence.add(presence.peak)
        elif not is_on:
            if presence is None:
                presence = Presence(self, concept, self.seen_from_s, self._value(concept))
            elif presence.frames > 1 and time_s == self.last_s:  # the frame with which it went off is not a part
                presence.total -= self._value(concept)
                presence.frames -= 1
            self._complete_presence(presence, time_s)
        self._advance(time_s)

    def add_gap(self, gap: Gap) -> None:
        self._keep(LostAudio(self, gap.start, gap.lost_s))
        self.end_s = max(self.end_s, gap.start + gap.lost_s)
        self.is_changed = True

    def end(self, message: End | None = None) -> None:
        """Nothing follows. Without the message the newest moment is the end."""
        if message is not None and self.origin_s is not None:
            self._advance(self.origin_s + message.seconds)
        for presence in tuple(self.present.values()):
            self._complete_presence(presence, self.last_s)
        self._complete_minute()
        self.has_ended = self.is_changed = True
        self._keep(self)

    def resume(self, base_at: float, position_s: float) -> Session:
        """End here, and return the session that continues after a pause; what is on stays on in it."""
        following = Session(self.stream, self.source, self.model, base_at, position_s, self._keep)
        following.origin_s, following._values = self.origin_s, self._values
        for concept in self.present:
            following.switch(concept, True, position_s)
        self.end()
        return following

    def _advance(self, time_s: float) -> None:
        self.last_s = max(self.last_s, time_s)
        self.end_s = max(self.end_s, time_s)
        self.is_changed = True

    def _complete_presence(self, presence: Presence, off_s: float) -> None:
        presence.off_s = max(off_s, presence.on_s)
        self.present.pop(presence.concept, None)
        self._keep(presence)

    def _complete_minute(self) -> None:
        if self.minute is not None:
            self._keep(self.minute)
            self.minute = None

    def _value(self, concept: str) -> float:
        column = self.model.columns.get(concept)
        return 0.0 if column is None else float(self._values[column])


Row = Session | Presence | LostAudio | Minute
