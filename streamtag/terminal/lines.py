"""Streams as lines of text, where there is no terminal to draw on: a log, a pipe, a pager."""

from __future__ import annotations

from math import floor
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.presence import end_verdict, format_verdict
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink
from streamtag.text import format_length, format_time, plural, printable

MAX_LABELS = 5  # in a line, without --top
MAX_STREAMS = 256  # of which frames are kept


class SecondMean:
    """The mean of the frames in one second of a stream. number: that second's, from 0."""

    def __init__(self, number: int, labels: int) -> None:
        self.number = number
        self._sum = np.zeros(labels)
        self._count = 0

    def add(self, probs: NDArray[np.float64]) -> None:
        self._sum += probs
        self._count += 1

    @property
    def mean(self) -> NDArray[np.float64]:
        return self._sum / max(1, self._count)


class PlainLines(Sink):
    """A sink that prints `0:12  guitar 0.91  rock 0.40`: a line per second with the mean of its frames.

    Events, gaps, errors and the end have lines of their own. Each line is flushed.
    """

    def __init__(self, file: TextIO, selection: Selection, *, named: bool = False) -> None:
        """named: each line begins with its stream's name, as there are several at a time."""
        self._file = file
        self._is_named = named
        self._selection = selection
        self._seconds: dict[str, SecondMean] = {}

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self._add_frame(message)
        elif isinstance(message, Event):
            if self._selection.message_filter.includes(message):
                second = self._seconds.get(message.stream)
                if second is not None and second.number < floor(message.time):  # when the stream ends
                    self._print_second(message.stream)
                self._print(message.stream, message.time, f"{message.tag} {message.state}")
        elif isinstance(message, Gap):
            self._print_second(message.stream)
            self._print(message.stream, message.start, f"gap: {message.lost_s:.2f} s lost")
        elif isinstance(message, End):
            self._print_second(message.stream)
            verdict = format_verdict(end_verdict(message, self._selection))
            text = f"end, {plural(message.frames, 'frame')}: {verdict}"
            self._print_line(f"{self._prefix(message.stream)}{format_length(message.seconds)}  {text}")
        elif isinstance(message, Error):
            self._print_line(f"{f'{message.stream}: ' if message.stream else ''}{message.message}")

    def _prefix(self, stream: str) -> str:
        return f"{stream}  " if self._is_named else ""

    def _add_frame(self, frame: Frame) -> None:
        number = max(0, floor((frame.start + frame.end) / 2))
        second = self._seconds.get(frame.stream)
        if second is not None and second.number != number:
            self._print_second(frame.stream)
            second = None
        if second is None:
            second = self._seconds[frame.stream] = SecondMean(number, len(self._selection.labels))
            if len(self._seconds) > MAX_STREAMS:
                del self._seconds[next(iter(self._seconds))]
        second.add(self._selection.probs(frame))

    def _print_second(self, stream: str) -> None:
        second = self._seconds.pop(stream, None)
        if second is not None:
            mean, names = second.mean, self._selection.labels
            tags = (f"{names[index]} {mean[index]:.2f}" for index in self._selection.strongest(mean, MAX_LABELS))
            self._print(stream, second.number, "  ".join(tags))

    def _print(self, stream: str, seconds: float, text: str) -> None:
        self._print_line(f"{self._prefix(stream)}{format_time(seconds)}  {text}")

    def _print_line(self, line: str) -> None:
        self._file.write(f"{printable(line)}\n")
        self._file.flush()
