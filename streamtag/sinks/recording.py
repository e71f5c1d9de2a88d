"""Reading recordings: the messages that `--record` or `--json` wrote, with their timing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from streamtag.audio.source import Closing
from streamtag.errors import ProtocolError, SourceError
from streamtag.protocol.messages import End, Event, Frame, Gap, Hello, Message
from streamtag.protocol.reader import MAX_MESSAGE_CHARS, decode, parse, read_message
from streamtag.text import describe_os_error, printable

MAX_TIME_S = 1e9  # 30 years: a later time is a damaged one


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """at: seconds since the recording began; never less than that of the message before."""

    at: float
    message: Message


class Recording(Closing):
    """The messages that `--record` or `--json` wrote. Iterate it as often as needed, one pass at a time.

    A pass yields the messages after the first hello and reads line by line, so memory does not grow with the file.
    Invalid lines are skipped and counted in `damaged`, except for a last line without its end, as a killed process
    leaves it. Messages of unknown types are skipped.
    """

    def __init__(self, path: Path) -> None:
        """Raises SourceError if the file cannot be read or does not begin with a hello."""
        self.damaged = 0  # in the latest pass
        self._label = printable(str(path))
        try:
            self._file: BinaryIO = path.open("rb")
        except IsADirectoryError:
            raise SourceError(f"{self._label}: is a folder, not a recording") from None
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            raise SourceError(f"{self._label}: {describe_os_error(error)}") from None
        try:
            if not self._file.seekable():
                raise SourceError(f"{self._label}: is a pipe: a recording must be a file")
            self._size = os.fstat(self._file.fileno()).st_size
            self.hello, self._first = self._read_hello()
        except SourceError:
            self.close()
            raise

    @property
    def fraction(self) -> float:
        """Share of the file that the latest pass has read; more than 1 if the file has grown since it was opened."""
        return self._file.tell() / self._size if self._size else 1.0

    def __iter__(self) -> Iterator[TimedMessage]:
        """Raises SourceError if reading fails."""
        self.damaged = 0
        clock = ReplayClock(self.hello)
        self._file.seek(self._first)
        for line in self._lines():
            try:
                values = decode(line)
                message = read_message(values)
            except ProtocolError:
                self.damaged += line.endswith(b"\n") or len(line) > MAX_MESSAGE_CHARS
                continue
            if message is not None:
                yield TimedMessage(clock.time_of(message, _recorded_time(values)), message)

    def close(self) -> None:
        self._file.close()

    def _read_hello(self) -> tuple[Hello, int]:
        """Return the hello and the position after it."""
        for line in self._lines():
            try:
                message = parse(line)
            except ProtocolError as error:
                raise SourceError(f"{self._label}: not a recording: {error}") from None
            if not isinstance(message, Hello):
                break
            return message, self._file.tell()
        raise SourceError(f"{self._label}: not a recording: it does not begin with a hello message")

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines from the current position, without blank ones; of one that is too long only the start."""
        while line := self._read_line():
            if line.strip():
                yield line
            while len(line) > MAX_MESSAGE_CHARS and not line.endswith(b"\n"):
                line = self._read_line()

    def _read_line(self) -> bytes:
        try:
            return self._file.readline(MAX_MESSAGE_CHARS + 1)
        except OSError as error:
            raise SourceError(f"{self._label}: {describe_os_error(error)}") from None


class ReplayClock:
    """Determines when each message was published: at its recorded time, or else at its time in its stream.

    By stream times, a message is due when the last sample that it depends on has sounded. A stream begins when the
    one before it has ended; if its first message is from the middle, it counts as under way.
    """

    def __init__(self, hello: Hello) -> None:
        self._lookahead, self._window = hello.lookahead_s, hello.window_s
        self._latest = self._base = 0.0
        self._bases: dict[str, float] = {}  # of the streams under way

    def time_of(self, message: Message, recorded_at: float | None) -> float:
        """Return the time since the first hello [s]. recorded_at: since the hello before the message [s]."""
        if isinstance(message, Hello):  # recordings joined end to end: times count from 0 again
            self._base = self._latest
            self._bases.clear()
        at = self._base + recorded_at if recorded_at is not None else self._by_stream(message)
        self._latest = max(self._latest, at)
        return self._latest

    def _by_stream(self, message: Message) -> float:
        if isinstance(message, Frame):
            position = message.end - self._window / 2 + self._lookahead
        elif isinstance(message, Event):
            position = message.time + self._lookahead
        elif isinstance(message, Gap):
            position = message.start + message.lost_s
        elif isinstance(message, End):
            position = message.seconds
        else:
            return self._latest
        is_start = position <= self._window + self._lookahead
        base = self._bases.setdefault(message.stream, self._latest if is_start else self._latest - position)
        if isinstance(message, End):
            del self._bases[message.stream]
        return base + position


def _recorded_time(values: Mapping[str, Any]) -> float | None:
    """Return the valid `at` of a message's fields, or None."""
    at = values.get("at")
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    return float(at) if 0 <= at <= MAX_TIME_S else None
