"""What a stream contains: the labels that the event detector had on for long enough.

A concept or tag is present at a moment while the event detector has it on, and in a stream if that was so for at
least MIN_SHARE of its length. A denial, such as `no vocals`, is about the whole stream: it yields to anything else of
its category that is present.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.events import EventDetector
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import End
from streamtag.protocol.selection import Selection
from streamtag.spec import CATEGORIES

MIN_SHARE = 0.25  # of the stream's length
DENIAL = "no "

Floats = NDArray[np.floating]
Verdict = dict[str, tuple[str, ...]]  # names by category


def present_columns(
    names: Sequence[str], categories: Sequence[str], present_s: Floats, means: Floats, seconds: float
) -> list[int]:
    """Return which labels are present in a stream, by category, and by mean probability within one, highest first.

    names, categories, means [C]; present_s [C]: for how long each was on; seconds: length of the stream.
    """
    found = [n for n, length in enumerate(present_s.tolist()) if length > 0 and length >= MIN_SHARE * seconds]
    asserted = {categories[n] for n in found if not names[n].startswith(DENIAL)}
    kept = [n for n in found if not (names[n].startswith(DENIAL) and categories[n] in asserted)]
    return sorted(kept, key=lambda n: (category_rank(categories[n]), -means[n]))


def group_names(columns: Iterable[int], names: Sequence[str], categories: Sequence[str]) -> Verdict:
    """Return the names of the columns by category, in the order of the columns; each name once."""
    groups: dict[str, dict[str, None]] = {}
    for column in columns:
        groups.setdefault(categories[column], {})[names[column]] = None
    return {category: tuple(group) for category, group in groups.items()}


def category_rank(category: str) -> int:
    """Return the place of a category in the order of display; unknown ones come last."""
    return CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES)


def selected_present(timeline: Timeline, selection: Selection) -> list[int]:
    """Return the chosen columns that are present in a complete timeline, in the order of present_columns.

    The tags have no events: where any is chosen, the timeline's rows are run through an event detector.
    """
    present_s, tags, chosen = timeline.present_s, selection.tags, set(selection.chosen)
    if selection.chosen[0] < len(tags):
        detector = EventDetector(tags, selection.tag_thresholds)
        for probs, time in zip(timeline.probs[:, : len(tags)], timeline.times.tolist(), strict=True):
            detector.update(probs, time)
        present_s = np.concatenate((detector.present_s(timeline.end_s), present_s[len(tags) :]))
    labels, categories, means = selection.labels, selection.categories, timeline.means
    return [n for n in present_columns(labels, categories, present_s, means, timeline.seconds) if n in chosen]


def timeline_verdict(timeline: Timeline, selection: Selection) -> Verdict:
    """Return the chosen labels that are present in a complete timeline."""
    return group_names(selected_present(timeline, selection), selection.labels, selection.categories)


def end_verdict(end: End, selection: Selection) -> Verdict:
    """Return the concepts that a stream's last message says were present."""
    category = {concept.name: concept.category for concept in selection.concepts}
    names, categories = list(end.present_s), [category.get(name, "") for name in end.present_s]
    present_s = np.array(list(end.present_s.values()))
    means = np.array([end.concepts.get(name, 0.0) for name in names])
    return group_names(present_columns(names, categories, present_s, means, end.seconds), names, categories)


def positive(names: Sequence[str], values: Floats) -> dict[str, float]:
    """Return the values above 0 by name."""
    return {name: value for name, value in zip(names, values.tolist(), strict=True) if value > 0}
