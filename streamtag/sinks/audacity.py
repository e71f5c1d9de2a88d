"""Audacity label tracks: when each concept, or each selected tag, was present."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamtag.inference.presence import on_over_time
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import AtomicFile
from streamtag.sinks.base import Sink, ignore_path


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


class LabelTrack(Sink):
    """Writes one file per stream when it ends."""

    def __init__(
        self, paths: Mapping[str, Path], selection: Selection, on_written: Callable[[Path], None] = ignore_path
    ) -> None:
        """paths: the file of each stream, by the stream's name. on_written: called with each complete file."""
        self._paths = paths
        self._on_written = on_written
        self._selection = selection
        self._timeline = Timeline("", selection.labels)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._timeline = timeline

    def write(self, message: Message) -> None:
        if isinstance(message, End):
            path = self._paths[message.stream]
            with AtomicFile(path) as output:
                output.file.writelines(map(str, find_labels(self._timeline, self._selection)))
            self._on_written(path)
