"""Audacity label tracks: when each concept, or each selected tag, was present."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamtag.inference.events import EventDetector
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import AtomicFile
from streamtag.sinks.base import Sink


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
    columns = np.array(selection.chosen)
    thresholds = (*selection.tag_thresholds, *selection.concept_thresholds)
    detector = EventDetector(selection.names, [thresholds[column] for column in columns])
    events = []
    for probs, time in zip(timeline.probs[:, columns], timeline.times.tolist(), strict=True):
        events += detector.update(probs, time)
    events += detector.close(timeline.end_s)
    started: dict[str, float] = {}
    labels = []
    for name, state, time in events:
        if state == "on":
            started[name] = max(0.0, time)
        else:
            start = started.pop(name)
            labels.append(Label(start, max(start, time), name))
    return sorted(labels)


class LabelTrack(Sink):
    """Writes one file per stream when it ends. paths: the file of each stream, by the stream's name."""

    def __init__(self, paths: Mapping[str, Path], selection: Selection) -> None:
        self._paths = paths
        self._selection = selection
        self._timeline = Timeline("", selection.labels)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._timeline = timeline

    def write(self, message: Message) -> None:
        if isinstance(message, End):
            with AtomicFile(self._paths[message.stream]) as output:
                output.file.writelines(map(str, find_labels(self._timeline, self._selection)))
