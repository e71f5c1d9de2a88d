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


def present_seconds(timeline: Timeline, selection: Selection) -> Floats:
    """Return for how many seconds each label was on in a complete timeline [P + K].

    Tags have no events: where any is chosen, the timeline's rows are run through an event detector.
    """
    count = len(selection.tags)
    if selection.chosen[0] >= count:
        return timeline.present_s
    detector = EventDetector(selection.tags, selection.tag_thresholds)
    for probs, time in zip(timeline.probs[:, :count], timeline.times.tolist(), strict=True):
        detector.update(probs, time)
    return np.concatenate((detector.present_s(timeline.end_s), timeline.present_s[count:]))


def selected_present(timeline: Timeline, selection: Selection, present_s: Floats) -> list[int]:
    """Return the chosen columns that are present in a complete timeline, in the order of present_columns.

    present_s: from present_seconds.
    """
    labels, categories, chosen = selection.labels, selection.categories, set(selection.chosen)
    found = present_columns(labels, categories, present_s, timeline.means, timeline.seconds)
    return [column for column in found if column in chosen]


def on_over_time(timeline: Timeline, selection: Selection, columns: Sequence[int]) -> NDArray[np.bool_]:
    """Return whether each of the columns was on at each row of a timeline [rows, columns]."""
    thresholds = (*selection.tag_thresholds, *selection.concept_thresholds)
    detector = EventDetector([selection.labels[n] for n in columns], [thresholds[n] for n in columns])
    probs = timeline.probs[:, list(columns)]
    result = np.zeros(probs.shape, np.bool_)
    for row, time, is_on in zip(probs, timeline.times.tolist(), result, strict=True):
        detector.update(row, time)
        is_on[:] = detector.on
    return result


def format_verdict(verdict: Verdict) -> str:
    """Return a verdict in one line, such as `guitar, strings; techno; no vocals`."""
    return "; ".join(", ".join(names) for names in verdict.values()) or "nothing certain"


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
