"""Audacity label tracks: when each concept, or each selected tag, was present."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamtag.inference.presence import on_over_time
from streamtag.inference.timeline import Timeline
from streamtag.protocol.selection import Selection
from streamtag.sinks.stream_files import StreamFiles


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


class LabelTrack(StreamFiles):
    """Writes one label track per stream when it ends."""

    def contents(self, timeline: Timeline, selection: Selection, path: Path) -> bytes:  # noqa: ARG002
        """Return the labels of the stream, a line each."""
        return format_labels(find_labels(timeline, selection)).encode()
