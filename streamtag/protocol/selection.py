"""Which tags are shown or sent, how many of them, and from which probability on they count."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SpecError
from streamtag.protocol.messages import End, Event, Frame, Message


@dataclass(frozen=True)
class MessageFilter:
    """A reader's choice: only `tags` (None: all), of these the `top` strongest, from min_probability on.

    It filters the tags of frames and summaries, and events by name; all other messages remain unchanged.
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
        """Return the message with the chosen tags, or None for an event of another tag."""
        if isinstance(message, Frame):
            return replace(message, tags=self._select(message.tags))
        if isinstance(message, End):
            return replace(message, summary=self._select(message.summary))
        if isinstance(message, Event) and self.tags is not None and message.tag not in self.tags:
            return None
        return message

    def _select(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """Return the chosen tags in the order of `values` or, with `top`, strongest first."""
        kept = [
            (name, value)
            for name, value in values.items()
            if value >= self.min_probability and (self.tags is None or name in self.tags)
        ]
        if self.top is not None:
            kept = sorted(kept, key=lambda item: -item[1])[: self.top]
        return dict(kept)


@dataclass(frozen=True)
class Selection:
    """A choice among the tags of a model. tags, thresholds: all of the model's, in its order [P].

    chosen: the columns of the chosen tags, ascending; top: show at most this many at a time, strongest first.
    """

    tags: tuple[str, ...]
    thresholds: tuple[float, ...]
    chosen: tuple[int, ...]
    top: int | None = None

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.tags):
            raise SpecError(f"{len(self.tags)} tags need as many thresholds, not {len(self.thresholds)}")
        if not self.chosen:
            raise SpecError("no tags chosen")
        if self.top is not None and self.top < 1:
            raise SpecError(f"top must be at least 1, not {self.top}")

    @classmethod
    def of(
        cls,
        tags: Sequence[str],
        thresholds: Sequence[float],
        *,
        names: Iterable[str] | None = None,
        top: int | None = None,
        threshold: float | None = None,
    ) -> Selection:
        """names: of tags, in any case (None: all); threshold: for all tags, instead of the model's.

        Raises SpecError if a name is not one of the model's, or a number is out of range.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise SpecError(f"a threshold is a probability between 0 and 1, not {threshold}")
        if names is None:
            chosen = tuple(range(len(tags)))
        else:
            chosen = tuple(sorted({_index(name, tags) for name in names if name.strip()}))
        limits = tuple(thresholds) if threshold is None else (threshold,) * len(tags)
        return cls(tuple(tags), limits, chosen, top)

    @property
    def names(self) -> tuple[str, ...]:
        """The chosen tags, in the model's order."""
        return tuple(self.tags[index] for index in self.chosen)

    def strongest(self, probs: NDArray[np.floating], top: int | None = None) -> list[int]:
        """Return the chosen columns of probs [P], strongest first; top: for a user who set none."""
        limit = self.top or top
        chosen = np.asarray(self.chosen)
        order = chosen[np.argsort(-np.asarray(probs)[chosen], kind="stable")]
        return [int(index) for index in order[:limit]]

    def probs(self, frame: Frame) -> NDArray[np.float64]:
        """Return the frame's probabilities in the model's order [P]; 0 for tags that it lacks."""
        return np.array([frame.tags.get(tag, 0.0) for tag in self.tags])

    @property
    def message_filter(self) -> MessageFilter:
        """The same choice as a filter of messages."""
        everything = len(self.chosen) == len(self.tags)
        return MessageFilter(None if everything else frozenset(self.names), self.top)


def _index(name: str, tags: Sequence[str]) -> int:
    folded = [tag.casefold() for tag in tags]
    key = name.strip().casefold()
    if key in folded:
        return folded.index(key)
    near = difflib.get_close_matches(key, folded, n=1)
    hint = f" (did you mean {tags[folded.index(near[0])]!r}?)" if near else ""
    raise SpecError(f"{name.strip()}: not a tag of this model{hint}; `streamtag model` lists them")
