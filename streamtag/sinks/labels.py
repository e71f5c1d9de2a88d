"""What was present when, in files: label tracks for Audacity, and segments of like music in a long recording.

The suffix of a file of segments chooses its form: .json is the chapters of Podcasting 2.0, .txt a label track for
Audacity, .vtt is WebVTT. Times count from the start of the file.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from streamtag.inference.change_points import find_change_points
from streamtag.inference.presence import format_verdict, group_names, on_over_time, present_columns
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import TIME_DECIMALS
from streamtag.protocol.selection import Selection

CHAPTERS_VERSION = "1.2.0"


@dataclass(frozen=True, order=True)
class Label:
    """A named interval of time [s]."""

    start: float
    end: float
    name: str

    def __str__(self) -> str:
        """Return a line of a label file: start, end and text, separated by tabs."""
        return f"{self.start:.6f}\t{self.end:.6f}\t{self.name}\n"


def find_labels(timeline: Timeline, selection: Selection) -> list[Label]:
    """Return where each selected label is present, by time, as events say it; what is on at the end ends there.

    Calculated from the frames, since the events of messages are about concepts only. The timeline is complete and has
    one row per frame.
    """
    on = on_over_time(timeline, selection, selection.chosen)
    times = np.append(np.maximum(0.0, timeline.times), timeline.end_s).tolist()
    labels = []
    for name, is_on in zip(selection.names, on.T, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate(([False], is_on, [False])))).tolist()
        for first, after in zip(edges[::2], edges[1::2], strict=True):
            labels.append(Label(times[first], max(times[first], times[after]), name))
    return sorted(labels)


def format_labels(labels: Iterable[Label]) -> str:
    """Return a label track: a line for each label."""
    return "".join(map(str, labels))


def label_track(timeline: Timeline, selection: Selection, path: Path) -> bytes:  # noqa: ARG001
    """Return a label track of a complete timeline: when each concept, or each selected tag, was present."""
    return format_labels(find_labels(timeline, selection)).encode()


def segment_file(timeline: Timeline, selection: Selection, path: Path) -> bytes:
    """Return the segments of a complete timeline in the form of the path's suffix, one of SEGMENT_FORMATS."""
    return SEGMENT_FORMATS[path.suffix.lower()](find_segments(timeline, selection)).encode()


def find_segments(timeline: Timeline, selection: Selection) -> list[Label]:
    """Return the segments of a complete timeline without a gap between them, named after what is present in each.

    All concepts of the model decide where a segment ends, the chosen labels how it is named.
    """
    times = timeline.times
    if not len(times):
        return []
    hop_s = float(times[1] - times[0]) if len(times) > 1 else 1.0
    changes = timeline.start_s + find_change_points(timeline.probs[:, len(selection.tags) :], hop_s)
    edges = [timeline.start_s, *changes.tolist(), timeline.end_s]
    intervals = find_labels(timeline, selection)
    return [
        Label(start, end, _name_segment(start, end, intervals, timeline, selection)) for start, end in pairwise(edges)
    ]


def _name_segment(
    start: float, end: float, intervals: Sequence[Label], timeline: Timeline, selection: Selection
) -> str:
    """Return what is present from start to end, by the rule for whole streams."""
    present_s = dict.fromkeys(selection.labels, 0.0)
    for interval in intervals:
        present_s[interval.name] += max(0.0, min(end, interval.end) - max(start, interval.start))
    rows = timeline.probs[slice(*np.searchsorted(timeline.times, (start, end)))]
    means = rows.mean(axis=0) if len(rows) else timeline.means
    labels, categories = selection.labels, selection.categories
    columns = present_columns(labels, categories, np.array([present_s[label] for label in labels]), means, end - start)
    return format_verdict(group_names([n for n in columns if n in selection.chosen], labels, categories))


def to_chapters(segments: Sequence[Label]) -> str:
    """Return JSON chapters; see github.com/Podcastindex-org/podcast-namespace/blob/main/docs/examples/chapters."""
    chapters = [
        {
            "startTime": round(segment.start, TIME_DECIMALS),
            "endTime": round(segment.end, TIME_DECIMALS),
            "title": segment.name,
        }
        for segment in segments
    ]
    return json.dumps({"version": CHAPTERS_VERSION, "chapters": chapters}, ensure_ascii=False, indent=1) + "\n"


def to_webvtt(segments: Sequence[Label]) -> str:
    """Return WebVTT (W3C): one cue for each segment."""
    cues = [
        f"\n{_vtt_time(segment.start)} --> {_vtt_time(segment.end)}\n{html.escape(segment.name, quote=False)}\n"
        for segment in segments
    ]
    return "WEBVTT\n" + "".join(cues)


def _vtt_time(seconds: float) -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


SEGMENT_FORMATS: dict[str, Callable[[Sequence[Label]], str]] = {
    ".json": to_chapters,
    ".txt": format_labels,
    ".vtt": to_webvtt,
}
