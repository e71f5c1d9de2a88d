"""Frames as comma-separated values: one row per frame, one column per tag."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from streamtag.audio.source import Closing
from streamtag.protocol.messages import DECIMALS, TIME_DECIMALS, Frame, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import AtomicFile, cannot_write
from streamtag.sinks.base import Sink

COLUMNS = ("stream", "time", "start", "end")


class CsvFile(Closing, Sink):
    """All streams in one table: stream, time (window centre), start and end of the window [s], then the tags.

    The columns are the tags, or the selected ones; `top` does not apply, as columns are fixed. A context manager: the
    file is moved into its place when it is closed, and discarded after an error other than BrokenPipeError.
    """

    def __init__(self, path: Path, selection: Selection, on_written: Callable[[Path], None] = lambda _: None) -> None:
        """on_written: called with the path when the file is complete. Raises OutputError if it cannot be written."""
        self._on_written = on_written
        self._output = AtomicFile(path)
        self._writer: Any = csv.writer(self._output.file, lineterminator="\n")
        self._tags = selection.sent_tags
        self._write_row((*COLUMNS, *self._tags))

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            centre = (message.start + message.end) / 2
            # Before the stream's beginning there is nothing that a reader could look up.
            times = (f"{max(0.0, value):.{TIME_DECIMALS}f}" for value in (centre, message.start, message.end))
            probs = (f"{message.tags[tag]:.{DECIMALS}f}" for tag in self._tags)
            self._write_row((message.stream, *times, *probs))

    def close(self) -> None:
        self._output.commit()
        self._on_written(self._output.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, BrokenPipeError):
            self.close()
        else:
            self._output.discard()

    def _write_row(self, values: tuple[str, ...]) -> None:
        try:
            self._writer.writerow(values)
        except OSError as error:
            raise cannot_write(self._output.path, error) from None
