"""Frames as comma-separated values: one row a frame, one column a tag."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from streamtag.inference.frame import TagFrame
from streamtag.protocol.messages import DECIMALS, TIME_DECIMALS
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import AtomicFile, cannot_write
from streamtag.sinks.base import SilentSink, Stream

COLUMNS = ("stream", "time", "start", "end")


class CsvFile(SilentSink):
    """All streams in one table: stream, time (window centre), start and end of the window [s], then the tags.

    The columns are the model's tags, or the chosen ones; `top` does not apply, as columns are fixed.
    """

    def __init__(self, path: Path, selection: Selection) -> None:
        """Raises OutputError if the file cannot be written."""
        self._result = AtomicFile(path)
        self._writer: Any = csv.writer(self._result.file, lineterminator="\n")
        self._chosen = np.asarray(selection.chosen)
        self._row((*COLUMNS, *selection.names))

    def frame(self, stream: Stream, frame: TagFrame) -> None:
        times = (f"{value:.{TIME_DECIMALS}f}" for value in (frame.time, frame.start, frame.end))
        probs = (f"{value:.{DECIMALS}f}" for value in frame.probs[self._chosen].tolist())
        self._row((stream.name, *times, *probs))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Puts the file in its place; after an error only if standard output was closed."""
        if kind is None or issubclass(kind, BrokenPipeError):
            self._result.commit()
        else:
            self._result.discard()

    def _row(self, values: tuple[str, ...]) -> None:
        try:
            self._writer.writerow(values)
        except OSError as error:
            raise cannot_write(self._result.path, error) from None
