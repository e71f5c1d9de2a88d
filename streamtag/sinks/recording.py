"""Recordings: every message with the time at which it came, for replays."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from streamtag.audio.source import Closing
from streamtag.errors import ProtocolError, SourceError
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import JSON, TIME_DECIMALS, End, Event, Frame, Gap, Hello, Message
from streamtag.protocol.reader import MAX_MESSAGE_CHARS, parse
from streamtag.sinks.atomic_file import cannot_write, check_targets
from streamtag.sinks.base import Sink
from streamtag.text import describe_os_error, plural, printable

MAX_TIME_S = 1e9  # 30 years: a later time is a damaged one


class MessageRecorder(Closing, Sink):
    """Writes hello, then each message, as one line of JSON with `at`: seconds on the clock since hello.

    Unlike other outputs the file is in its place from the start, and each line is handed to the system at once: it
    can be read while it grows. A message that cannot be written, as on a full disk, leaves nothing in the file and is
    counted in `unrecorded`; recording continues with the next one for which there is space.
    """

    def __init__(
        self,
        path: Path,
        hello: Hello,
        report: Callable[[str], None],
        inputs: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """report: called with the first problem, and on close with the number of unrecorded messages.

        inputs: sources, which must not be overwritten. An older file stays until a stream begins. Raises OutputError
        if the file cannot be written, as far as that is known beforehand.
        """
        check_targets([path], inputs)
        self.unrecorded = 0  # messages
        self._path = path
        self._hello = _encode(hello, 0.0)
        self._report = report
        self._clock = clock
        self._start_time: float | None = None  # of the first stream
        self._file: FileIO | None = None
        self._size = 0  # bytes of whole lines
        self._is_torn = False  # half a line follows them
        self._has_failed = self._is_closed = False

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._elapsed_s()
        if self._size == 0:
            self._append(b"")

    def write(self, message: Message) -> None:
        self.unrecorded += not self._append(_encode(message, self._elapsed_s()))

    def close(self) -> None:
        """Raises OutputError if the system could not keep what was written."""
        if self._is_closed:
            return
        self._is_closed = True
        if self.unrecorded:
            self._report(f"{self._path}: {plural(self.unrecorded, 'message')} could not be recorded")
        if self._file is not None:
            try:
                with self._file:
                    self._remove_torn_line(self._file)
            except OSError as error:
                raise cannot_write(self._path, error) from None

    def _elapsed_s(self) -> float:
        now = self._clock()
        if self._start_time is None:
            self._start_time = now
        return now - self._start_time

    def _append(self, lines: bytes) -> bool:
        """Write all of the lines or nothing, and return whether they were written. Hello precedes the first ones."""
        try:
            if self._file is None:
                self._file = self._path.open("wb", buffering=0)
            self._remove_torn_line(self._file)
            self._write_whole(self._file, lines if self._size else self._hello + lines)
        except OSError as error:
            if not self._has_failed:
                self._report(f"{cannot_write(self._path, error)}; recording resumes when it can be written again")
            self._has_failed = True
            return False
        return True

    def _write_whole(self, file: FileIO, lines: bytes) -> None:
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            self._is_torn = len(rest) < len(lines)
            with suppress(OSError):  # the next attempt removes it
                self._remove_torn_line(file)
            raise
        self._size += len(lines)

    def _remove_torn_line(self, file: FileIO) -> None:
        if self._is_torn and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(self._size)
            file.seek(self._size)
        self._is_torn = False


def _encode(message: Message, at: float) -> bytes:
    """Return the line of a recording."""
    line = {**message.to_dict(), "at": round(at, TIME_DECIMALS)}
    return JSON.encode(line).encode(errors="replace") + b"\n"


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
                message = parse(line)
            except ProtocolError:
                self.damaged += line.endswith(b"\n") or len(line) > MAX_MESSAGE_CHARS
                continue
            if message is not None:
                yield TimedMessage(clock.time_of(message, _recorded_time(line)), message)

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


def _recorded_time(line: bytes) -> float | None:
    """Return the valid `at` of a line that is a message, or None."""
    at = json.loads(line).get("at")
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    return float(at) if 0 <= at <= MAX_TIME_S else None
