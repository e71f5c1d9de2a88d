"""A recording: every message of a stream with the time at which it came, for replays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from streamtag.audio.source import Closing
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import JSON, TIME_DECIMALS, Hello, Message
from streamtag.sinks.atomic_file import cannot_write, check_targets
from streamtag.sinks.base import Sink


class MessageRecorder(Closing, Sink):
    """Writes hello, then each message as one line of JSON, with `at`: seconds by the clock since hello.

    Unlike other results the file is in its place from the start and each line is handed to the system at once: it
    can be read while it grows, and a process that is killed leaves all lines but perhaps the last one whole.
    """

    def __init__(
        self, path: Path, hello: Hello, inputs: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        """inputs: what is listened to, which must not be written over. An older file stays until a stream begins.

        Raises OutputError if the file cannot be written, as far as one can tell before.
        """
        check_targets([path], inputs)
        self._path = path
        self._hello = hello
        self._clock = clock
        self._began = 0.0
        self._file: TextIO | None = None

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        if self._file is None:
            self._open()

    def write(self, message: Message) -> None:
        """Raises OutputError when the disk is full or the file is out of reach."""
        file = self._file or self._open()
        line = {**message.to_dict(), "at": round(self._clock() - self._began, TIME_DECIMALS)}
        try:
            file.write(JSON.encode(line) + "\n")
            file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from None

    def close(self) -> None:
        """Raises OutputError if the system could not keep what was written."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            raise cannot_write(self._path, error) from None

    def _open(self) -> TextIO:
        try:
            self._file = self._path.open("w", encoding="utf-8", errors="replace", newline="\n")
        except OSError as error:
            raise cannot_write(self._path, error) from None
        self._began = self._clock()
        self.write(self._hello)
        return self._file
