"""Which tags a user wants to see, how many of them, and from which probability on they count."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SpecError
from streamtag.protocol.message_filter import MessageFilter
from streamtag.protocol.messages import Frame


@dataclass(frozen=True)
class Selection:
    """A choice among a model's tags. `tags` and `thresholds`: all of the model's, in its order [P].

    chosen: the columns wanted, in ascending order; top: at most so many at a time, strongest first.
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
        """names: of tags, in any case (None: all); threshold: one for all tags in place of the model's.

        Raises SpecError if a name is not one of the model's, or a number is out of its range.
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
        """The chosen columns of probs [P], strongest first; `top` stands in where the user set none."""
        limit = self.top or top
        chosen = np.asarray(self.chosen)
        order = chosen[np.argsort(-np.asarray(probs)[chosen], kind="stable")]
        return [int(index) for index in order[:limit]]

    def probs(self, frame: Frame) -> NDArray[np.float64]:
        """Return the frame's probabilities in the model's order [P]; 0 for tags that it lacks."""
        return np.array([frame.tags.get(tag, 0.0) for tag in self.tags])

    @property
    def message_filter(self) -> MessageFilter:
        """The same choice for messages."""
        everything = len(self.chosen) == len(self.tags)
        return MessageFilter(None if everything else frozenset(self.names), self.top)


def _index(name: str, tags: Sequence[str]) -> int:
    folded = [tag.casefold() for tag in tags]
    wanted = name.strip().casefold()
    if wanted in folded:
        return folded.index(wanted)
    near = difflib.get_close_matches(wanted, folded, n=1)
    hint = f" (did you mean {tags[folded.index(near[0])]!r}?)" if near else ""
    raise SpecError(f"{name.strip()}: not a tag of this model{hint}; `streamtag model` lists them")
