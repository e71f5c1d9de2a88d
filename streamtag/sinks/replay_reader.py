"""A file of messages as time: what was told when, whether the file says it or not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from streamtag.audio.source import Closing
from streamtag.errors import ProtocolError, SourceError
from streamtag.protocol.messages import End, Event, Frame, Gap, Hello, Message
from streamtag.protocol.reader import MAX_MESSAGE_CHARS, parse
from streamtag.text import describe_os_error, printable

LATEST_S = 1e9  # 30 years: a later time is a damaged one


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """at: when, in seconds since the recording began; never less than that of the message before."""

    at: float
    message: Message


class Recording(Closing):
    """Lines that `--record` or `--json` wrote; a context manager. Iterate it as often as needed, one pass at a time.

    A pass gives the messages after the first hello and reads line by line, so that memory does not grow with the
    file. Lines that are no message are passed over and counted in `damaged`; a last line without its end, as a
    process that is killed leaves it, does not count. Messages of unknown types are passed over.
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
            raise SourceError(f"{self._label}: {_reason(error)}") from None
        try:
            if not self._file.seekable():
                raise SourceError(f"{self._label}: is a pipe: a recording must be a file")
            self._size = os.fstat(self._file.fileno()).st_size
            self.hello, self._first = self._greeting()
        except SourceError:
            self.close()
            raise

    @property
    def fraction(self) -> float:
        """How much of the file the latest pass has read, 0 to 1; more than 1 if it has grown since it was opened."""
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
                yield TimedMessage(clock.at(message, _at(line)), message)

    def close(self) -> None:
        self._file.close()

    def _greeting(self) -> tuple[Hello, int]:
        """The hello, and where the line after it begins."""
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
        """From here on, blank ones left out; of one that is too long only the beginning."""
        while line := self._read():
            if line.strip():
                yield line
            while len(line) > MAX_MESSAGE_CHARS and not line.endswith(b"\n"):
                line = self._read()

    def _read(self) -> bytes:
        try:
            return self._file.readline(MAX_MESSAGE_CHARS + 1)
        except OSError as error:
            raise SourceError(f"{self._label}: {_reason(error)}") from None


class ReplayClock:
    """When messages were told, message by message: at the time that is noted, else at that of their streams.

    By stream times a message was there when the last sample that it waited for had sounded. A stream that begins
    does so when the one before it has ended; one that is found under way is there at once.
    """

    def __init__(self, hello: Hello) -> None:
        self._lookahead, self._window = hello.lookahead_s, hello.window_s
        self._latest = self._base = 0.0
        self._bases: dict[str, float] = {}  # of the streams under way

    def at(self, message: Message, noted: float | None) -> float:
        """noted: s since the hello before it, or None. -> s since the first hello."""
        if isinstance(message, Hello):  # one recording behind another: it counts from 0 again
            self._base = self._latest
            self._bases.clear()
        moment = self._base + noted if noted is not None else self._by_stream(message)
        self._latest = max(self._latest, moment)
        return self._latest

    def _by_stream(self, message: Message) -> float:
        if isinstance(message, Frame):
            moment = message.end - self._window / 2 + self._lookahead
        elif isinstance(message, Event):
            moment = message.time + self._lookahead
        elif isinstance(message, Gap):
            moment = message.start + message.lost_s
        elif isinstance(message, End):
            moment = message.seconds
        else:
            return self._latest
        begins = moment <= self._window + self._lookahead
        base = self._bases.setdefault(message.stream, self._latest if begins else self._latest - moment)
        if isinstance(message, End):
            del self._bases[message.stream]
        return base + moment


def _at(line: bytes) -> float | None:
    """What a line that is a message notes of its time; None where that is nothing, or makes no sense."""
    at = json.loads(line).get("at")
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    return float(at) if 0 <= at <= LATEST_S else None


def _reason(error: Exception) -> str:
    return describe_os_error(error)
