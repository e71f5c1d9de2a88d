"""Messages as JSON lines: on a text stream, or in a recording with the time at which each came."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import TextIO

from streamtag.audio.source import Closing
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import JSON, TIME_DECIMALS, Hello, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import cannot_write, check_target
from streamtag.sinks.base import Sink
from streamtag.text import plural


class JsonLines(Sink):
    """Prints messages, filtered by the selection as a subscriber's `?top=` and `?tags=` filter them."""

    def __init__(self, file: TextIO, selection: Selection) -> None:
        self._file = file
        self._filter = selection.message_filter

    def write(self, message: Message) -> None:
        filtered = self._filter(message)
        if filtered is not None:
            write_line(self._file, filtered)


def write_line(file: TextIO, message: Message) -> None:
    """Write one message as one line and flush it, so that the reader of a pipe has it at once."""
    file.write(message.to_json() + "\n")
    file.flush()


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """report: called with the first problem, and on close with the number of unrecorded messages.

        An older file stays until a stream begins. Raises OutputError if the file cannot be written, as far as that is
        known beforehand.
        """
        check_target(path)
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
        unwritten = memoryview(lines)
        try:
            while unwritten:
                unwritten = unwritten[file.write(unwritten) :]
        except OSError:
            self._is_torn = len(unwritten) < len(lines)
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
