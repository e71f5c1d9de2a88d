"""What a reader wants of the messages: some tags, the strongest, those above a probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from streamtag.errors import SpecError
from streamtag.protocol.messages import End, Event, Frame, Message


@dataclass(frozen=True)
class MessageFilter:
    """tags: only these (None: all); top: the so many strongest; min_probability: from this probability on.

    Thins the tags of frames and summaries and, by name, the events; leaves all other messages as they are.
    """

    tags: frozenset[str] | None = None
    top: int | None = None
    min_probability: float = 0.0

    def __post_init__(self) -> None:
        if self.tags is not None and not self.tags:
            raise SpecError("no tags chosen")
        if self.top is not None and self.top < 1:
            raise SpecError(f"top must be at least 1, not {self.top}")
        if not 0 <= self.min_probability <= 1:
            raise SpecError(f"min must be a probability between 0 and 1, not {self.min_probability}")

    def __call__(self, message: Message) -> Message | None:
        """The message with what is wanted of it; None if nothing of it is."""
        if isinstance(message, Frame):
            return replace(message, tags=self._thin(message.tags))
        if isinstance(message, End):
            return replace(message, summary=self._thin(message.summary))
        if isinstance(message, Event) and self.tags is not None and message.tag not in self.tags:
            return None
        return message

    def _thin(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """In the order of `values`, or, with `top`, strongest first."""
        kept = [
            (name, value)
            for name, value in values.items()
            if value >= self.min_probability and (self.tags is None or name in self.tags)
        ]
        if self.top is not None:
            kept = sorted(kept, key=lambda item: -item[1])[: self.top]
        return dict(kept)
