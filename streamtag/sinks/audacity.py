"""Audacity label tracks: when each tag was there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import Event
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import AtomicFile
from streamtag.sinks.base import SilentSink, Stream


@dataclass(frozen=True, order=True)
class Label:
    """A stretch of time [s] with a name."""

    start: float
    end: float
    tag: str

    def line(self) -> str:
        """As Audacity reads it: start, end and text, separated by tabs."""
        return f"{self.start:.6f}\t{self.end:.6f}\t{self.tag}\n"


class TagIntervals:
    """Turns the on and off of the chosen tags, in order of time, into labels."""

    def __init__(self, selection: Selection) -> None:
        self._names = frozenset(selection.names)
        self._on: dict[str, float] = {}
        self._labels: list[Label] = []

    def switch(self, event: Event) -> None:
        if event.tag not in self._names:
            return
        if event.state == "on":
            self._on[event.tag] = event.time
        elif (start := self._on.pop(event.tag, None)) is not None:
            self._labels.append(Label(max(0.0, start), max(0.0, start, event.time), event.tag))

    def close(self, seconds: float) -> list[Label]:
        """All stretches, sorted by time; what never went off lasts to the end of the stream, `seconds`."""
        for tag, start in self._on.items():
            self._labels.append(Label(max(0.0, start), max(0.0, start, seconds), tag))
        labels, self._on, self._labels = sorted(self._labels), {}, []
        return labels


class LabelTrack(SilentSink):
    """Writes one file per stream when it ends. paths: the file of each stream, by the stream's name."""

    def __init__(self, paths: Mapping[str, Path], selection: Selection) -> None:
        self._paths = paths
        self._stretches = TagIntervals(selection)

    def event(self, event: Event) -> None:
        self._stretches.switch(event)

    def end(self, stream: Stream, timeline: Timeline) -> None:
        labels = self._stretches.close(timeline.seconds)
        with AtomicFile(self._paths[stream.name]) as result:
            result.file.writelines(label.line() for label in labels)
