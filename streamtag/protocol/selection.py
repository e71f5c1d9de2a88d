"""Which tags and concepts are shown or sent, how many of them, and from which probability on they count.

How a reader's choice applies to messages, which hold the probabilities of tags and those of concepts beside them:

    tags=A,B        of the tags only these; of the concepts only those that have one of these tags
    concepts=A,B    of the concepts only these; of the tags only those that belong to one of these
    both            of each kind only those that are named
    top=N, min=P    apply to the tags and to the concepts separately

Events are about concepts and are filtered as these are. Of a history, top and min leave out nothing. `all` in place of
names leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import SpecError
from streamtag.protocol.messages import Concept, End, Event, Frame, History, Message
from streamtag.text import closest

ALL = "all"


@dataclass(frozen=True)
class MessageFilter:
    """A reader's choice: only `tags` and `concepts` (None: all), of each the `top` strongest, from min_probability on.

    It filters frames, summaries, events and, by name only, histories; all other messages remain unchanged.
    """

    tags: frozenset[str] | None = None
    top: int | None = None
    min_probability: float = 0.0
    concepts: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise SpecError(f"top must be at least 1, not {self.top}")
        if not 0 <= self.min_probability <= 1:
            raise SpecError(f"min must be a probability between 0 and 1, not {self.min_probability}")

    def __call__(self, message: Message) -> Message | None:
        """Return the message with the chosen tags and concepts, or None for an event of another one."""
        if self == NO_FILTER:
            return message
        if isinstance(message, Frame):
            tags, concepts = self._select(message.tags, self.tags), self._select(message.concepts, self.concepts)
            return replace(message, tags=tags, concepts=concepts)
        if isinstance(message, End):
            tags, concepts = self._select(message.summary, self.tags), self._select(message.concepts, self.concepts)
            present_s = message.present_s
            if self.concepts is not None:
                present_s = {name: value for name, value in present_s.items() if name in self.concepts}
            return replace(message, summary=tags, concepts=concepts, present_s=present_s)
        if isinstance(message, History):
            return self._history(message)
        return message if not isinstance(message, Event) or self.includes(message) else None

    def includes(self, event: Event) -> bool:
        """Return whether an event is about a chosen concept; one from before concepts is about a tag."""
        names = self.tags if event.concept is None else self.concepts
        return names is None or event.tag in names

    def _history(self, history: History) -> History:
        names = self.concepts if history.concepts else self.tags
        return replace(
            history,
            tags={name: column for name, column in history.tags.items() if self.tags is None or name in self.tags},
            concepts={
                name: column
                for name, column in history.concepts.items()
                if self.concepts is None or name in self.concepts
            },
            present=tuple(name for name in history.present if names is None or name in names),
            events=tuple(event for event in history.events if self.includes(event)),
        )

    def _select(self, values: Mapping[str, float], names: frozenset[str] | None) -> Mapping[str, float]:
        """Return the chosen ones in the order of `values` or, with `top`, strongest first."""
        kept = [
            (name, value)
            for name, value in values.items()
            if value >= self.min_probability and (names is None or name in names)
        ]
        if self.top is not None:
            kept = sorted(kept, key=lambda item: -item[1])[: self.top]
        return dict(kept)


NO_FILTER = MessageFilter()


@dataclass(frozen=True)
class Selection:
    """A choice among the labels of a model: its tags [P], then its concepts [K].

    tags, concepts: all of the model's, in its order. thresholds [P + K]: of all labels; infinite for one that never
    counts as present. chosen: columns of the chosen labels, ascending. top: show at most this many at a time, strongest
    first. message_filter: the same choice for messages.
    """

    tags: tuple[str, ...]
    concepts: tuple[Concept, ...]
    thresholds: tuple[float, ...]
    chosen: tuple[int, ...]
    top: int | None = None
    message_filter: MessageFilter = field(default_factory=MessageFilter)

    def __post_init__(self) -> None:
        if not self.chosen:
            raise SpecError("no tags chosen")

    @classmethod
    def of(
        cls,
        tags: Sequence[str],
        thresholds: Sequence[float],
        concepts: Sequence[Concept] = (),
        *,
        names: Iterable[str] | None = None,
        concept_names: Iterable[str] | None = None,
        top: int | None = None,
        threshold: float | None = None,
    ) -> Selection:
        """names: of tags, in any case; concept_names: of concepts; None for both: the concepts, or the tags of a model
        without concepts. threshold: for all labels but those without evidence, instead of the model's.

        Raises SpecError if a name is not one of the model's, or a number is out of range.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise SpecError(f"a threshold is a probability between 0 and 1, not {threshold}")
        if len(thresholds) != len(tags):
            raise SpecError(f"{len(tags)} tags need as many thresholds, not {len(thresholds)}")
        if threshold is not None:
            thresholds = [threshold] * len(tags)
            concepts = [replace(each, threshold=each.threshold and threshold) for each in concepts]
        limits = [*thresholds, *(inf if concept.threshold is None else concept.threshold for concept in concepts)]
        groups = [concept.name for concept in concepts]
        chosen_tags = None if names is None else _columns(names, tags, "tag")
        chosen_concepts = None if concept_names is None else _columns(concept_names, groups, "concept")
        chosen = [*(chosen_tags or ()), *(len(tags) + column for column in chosen_concepts or ())]
        if names is None and concept_names is None:
            chosen = list(range(len(tags), len(limits)) if concepts else range(len(tags)))
        return cls(
            tuple(tags),
            tuple(concepts),
            tuple(limits),
            tuple(chosen),
            top,
            _message_filter(tags, concepts, chosen_tags, chosen_concepts, top),
        )

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of all tags and concepts [P + K]."""
        return (*self.tags, *(concept.name for concept in self.concepts))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the chosen labels, in the model's order."""
        return tuple(self.labels[index] for index in self.chosen)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The category of each label [P + K]; a tag's is that of its concept, or "" if it belongs to none."""
        of_tags = {tag: concept.category for concept in reversed(self.concepts) for tag in concept.tags}
        return (*(of_tags.get(tag, "") for tag in self.tags), *(concept.category for concept in self.concepts))

    @property
    def kind(self) -> str:
        """What the chosen labels are called: `concept` or `tag`."""
        return "concept" if self.chosen[-1] >= len(self.tags) else "tag"

    @property
    def sent_tags(self) -> tuple[str, ...]:
        """The tags that the filter of messages leaves, in the model's order."""
        chosen = self.message_filter.tags
        return self.tags if chosen is None else tuple(tag for tag in self.tags if tag in chosen)

    @property
    def sent_concepts(self) -> tuple[Concept, ...]:
        """The concepts that the filter of messages leaves, in the model's order."""
        chosen = self.message_filter.concepts
        return self.concepts if chosen is None else tuple(each for each in self.concepts if each.name in chosen)

    @property
    def tag_thresholds(self) -> tuple[float, ...]:
        """The thresholds of the tags [P]."""
        return self.thresholds[: len(self.tags)]

    @property
    def concept_thresholds(self) -> tuple[float | None, ...]:
        """The thresholds of the concepts [K]; None for one that never counts as present."""
        return tuple(concept.threshold for concept in self.concepts)

    def strongest(self, probs: NDArray[np.floating], top: int | None = None) -> list[int]:
        """Return the chosen columns of probs [P + K], strongest first; top: for a user who set none."""
        limit = self.top or top
        chosen = np.asarray(self.chosen)
        order = chosen[np.argsort(-np.asarray(probs)[chosen], kind="stable")]
        return [int(index) for index in order[:limit]]

    def probs(self, frame: Frame) -> NDArray[np.float64]:
        """Return the frame's probabilities in the order of the labels [P + K]; 0 for labels that it lacks."""
        tags = [frame.tags.get(tag, 0.0) for tag in self.tags]
        return np.array(tags + [frame.concepts.get(concept.name, 0.0) for concept in self.concepts])


def _message_filter(
    tags: Sequence[str],
    concepts: Sequence[Concept],
    chosen_tags: Sequence[int] | None,
    chosen_concepts: Sequence[int] | None,
    top: int | None,
) -> MessageFilter:
    """Return the filter for the chosen columns (None: none were named)."""
    names = tuple(concept.name for concept in concepts)
    some_tags, some_concepts = _some(chosen_tags, tags), _some(chosen_concepts, names)
    if concepts and chosen_concepts is None and some_tags is not None:
        some_concepts = frozenset(concept.name for concept in concepts if some_tags & set(concept.tags))
    elif chosen_tags is None and some_concepts is not None:
        some_tags = frozenset(tag for concept in concepts if concept.name in some_concepts for tag in concept.tags)
    return MessageFilter(some_tags, top, concepts=some_concepts)


def _some(chosen: Sequence[int] | None, names: Sequence[str]) -> frozenset[str] | None:
    """Return the chosen names, or None for all of them."""
    return None if chosen is None or len(chosen) == len(names) else frozenset(names[column] for column in chosen)


def _columns(names: Iterable[str], known: Sequence[str], kind: str) -> tuple[int, ...]:
    """Return the columns of these names, ascending."""
    wanted = [name.strip() for name in names if name.strip()]
    if [name.casefold() for name in wanted] == [ALL] and known:
        return tuple(range(len(known)))
    if not wanted:
        raise SpecError(f"no {kind}s chosen")
    return tuple(sorted({_index(name, known, kind) for name in wanted}))


def _index(name: str, known: Sequence[str], kind: str) -> int:
    folded = [each.casefold() for each in known]
    key = name.casefold()
    if key in folded:
        return folded.index(key)
    near = closest(name, known)
    hint = "" if near is None else f" (did you mean {near!r}?)"
    raise SpecError(f"{name}: not a {kind} of this model{hint}; `streamtag model` lists them")
