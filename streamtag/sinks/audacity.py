"""Audacity label tracks: when each tag was on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from streamtag.protocol.messages import End, Event, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import AtomicFile
from streamtag.sinks.base import Sink


@dataclass(frozen=True, order=True)
class Label:
    """A named interval of time [s]."""

    start: float
    end: float
    tag: str

    def __str__(self) -> str:
        """Return a line of a label file: start, end and text, separated by tabs."""
        return f"{self.start:.6f}\t{self.end:.6f}\t{self.tag}\n"


class TagIntervals:
    """Turns the on and off events of the selected tags, in order of time, into labels."""

    def __init__(self, selection: Selection) -> None:
        self._names = frozenset(selection.names)
        self._started: dict[str, float] = {}
        self._labels: list[Label] = []

    def add(self, event: Event) -> None:
        if event.tag not in self._names:
            return
        if event.state == "on":
            self._started[event.tag] = event.time
        elif (start := self._started.pop(event.tag, None)) is not None:
            self._labels.append(Label(max(0.0, start), max(0.0, start, event.time), event.tag))

    def finish(self, seconds: float) -> list[Label]:
        """Return all labels by time and start anew; a tag that is still on ends with the stream, at `seconds`."""
        for tag, start in self._started.items():
            self._labels.append(Label(max(0.0, start), max(0.0, start, seconds), tag))
        labels, self._started, self._labels = sorted(self._labels), {}, []
        return labels


class LabelTrack(Sink):
    """Writes one file per stream when it ends. paths: the file of each stream, by the stream's name."""

    def __init__(self, paths: Mapping[str, Path], selection: Selection) -> None:
        self._paths = paths
        self._intervals = TagIntervals(selection)

    def write(self, message: Message) -> None:
        if isinstance(message, Event):
            self._intervals.add(message)
        elif isinstance(message, End):
            labels = self._intervals.finish(message.seconds)
            with AtomicFile(self._paths[message.stream]) as output:
                output.file.writelines(map(str, labels))
