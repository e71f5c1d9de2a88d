"""A live stream as lines for people, where there is no terminal to draw on: a log, a pipe, a pager."""

from __future__ import annotations

from math import floor
from typing import TextIO

import numpy as np

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Message
from streamtag.protocol.selection import Selection
from streamtag.text import format_time, plural, printable

TAGS = 5  # in a line, where the user sets no --top
STREAMS = 256  # that are known at most


class Second:
    """The frames of one second of one stream."""

    def __init__(self, number: int, tags: int) -> None:
        self.number = number
        self._sum = np.zeros(tags)
        self._count = 0

    def add(self, probs: np.ndarray) -> None:
        self._sum += probs
        self._count += 1

    @property
    def mean(self) -> np.ndarray:
        return self._sum / max(1, self._count)


class PlainLines:
    """`0:12  guitar 0.91  rock 0.40`: a line a second of the stream, the mean of its frames, strongest first.

    What happens in between has lines of its own. Each line is flushed as it comes.
    """

    def __init__(self, file: TextIO, selection: Selection) -> None:
        self._file = file
        self._selection = selection
        self._seconds: dict[str, Second] = {}
        self._chosen = frozenset(selection.names)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:
        pass

    def close(self) -> None:
        pass

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self._frame(message)
        elif isinstance(message, Event):
            if message.tag in self._chosen:
                second = self._seconds.get(message.stream)
                if second is not None and second.number < floor(message.time):  # when the stream ends
                    self._tell_second(message.stream)
                self._line(message.stream, message.time, f"{message.tag} {message.state}")
        elif isinstance(message, Gap):
            self._tell_second(message.stream)
            self._line(message.stream, message.start, f"gap: {message.lost_s:.2f} s lost")
        elif isinstance(message, End):
            self._tell_second(message.stream)
            self._line(message.stream, message.seconds, f"end, {plural(message.frames, 'frame')}")
        elif isinstance(message, Error):
            self._write(f"{f'{message.stream}: ' if message.stream else ''}{message.message}")

    def lead(self, stream: str) -> str:  # noqa: ARG002
        """What every line of a stream begins with."""
        return ""

    def _frame(self, frame: Frame) -> None:
        number = max(0, floor((frame.start + frame.end) / 2))
        second = self._seconds.get(frame.stream)
        if second is not None and second.number != number:
            self._tell_second(frame.stream)
            second = None
        if second is None:
            second = self._seconds[frame.stream] = Second(number, len(self._selection.tags))
            if len(self._seconds) > STREAMS:
                del self._seconds[next(iter(self._seconds))]
        second.add(self._selection.probs(frame))

    def _tell_second(self, stream: str) -> None:
        second = self._seconds.pop(stream, None)
        if second is not None:
            mean = second.mean
            tags = (f"{self._selection.tags[i]} {mean[i]:.2f}" for i in self._selection.strongest(mean, TAGS))
            self._line(stream, second.number, "  ".join(tags))

    def _line(self, stream: str, seconds: float, text: str) -> None:
        self._write(f"{self.lead(stream)}{format_time(seconds)}  {text}")

    def _write(self, line: str) -> None:
        self._file.write(f"{printable(line)}\n")
        self._file.flush()


class NamedLines(PlainLines):
    """The same for several streams at a time: each line begins with its stream's name."""

    def lead(self, stream: str) -> str:
        return f"{stream}  "
