"""Standard output and standard error that may be full, closed or no longer read."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from streamtag.errors import OutputError
from streamtag.text import describe_os_error


class SafeTextStream(io.TextIOWrapper):
    """Writes to the buffer of another text stream. Raises BrokenPipeError once and discards everything after that.

    With `report` it raises OutputError once and discards what follows, so that reporting the error does not fail again.
    Otherwise it ignores failures: a server keeps running when the disk with its log is full.
    """

    def __init__(self, stream: io.TextIOWrapper, *, report: bool) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._report = report
        self._before = stream  # keep it, or its buffer would be closed with it

    def write(self, text: str) -> int:
        if text != "":  # typer writes "" as a test, and would hide the error
            self._guard(lambda: super(SafeTextStream, self).write(text))
        return len(text)

    def flush(self) -> None:
        self._guard(super().flush)

    def discard(self) -> None:
        """Discard what is still buffered and everything that follows."""
        with suppress(OSError, ValueError):  # no real file: nothing is buffered by the system
            descriptor = self.fileno()
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)

    def restore(self) -> None:
        """Give the buffer back to the other stream, with nothing in it that fails when Python exits."""
        try:
            super().flush()
        except OSError:
            self.discard()
        with suppress(OSError, OutputError):
            self.detach()

    def _guard(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BrokenPipeError:  # the reader is gone
            self.discard()
            raise
        except OSError as error:
            if self._report:
                self.discard()
                raise OutputError(f"standard output: cannot write: {describe_os_error(error)}") from None


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make sys.stdout and sys.stderr safe while entered, even where they were closed; only stdout reports failures."""
    before = sys.stdout, sys.stderr
    with ExitStack() as resources:
        sys.stdout = _replace(before[0] or resources.enter_context(_closed_pipe()), resources, report=True)
        sys.stderr = _replace(before[1] or resources.enter_context(_null()), resources, report=False)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def _replace(stream: TextIO, resources: ExitStack, *, report: bool) -> TextIO:
    """Return a replacement, or the stream itself if it is not a file of this interpreter, as in tests."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    with suppress(OSError):
        stream.flush()
    replacement = SafeTextStream(stream, report=report)
    resources.callback(replacement.restore)
    return replacement


def _closed_pipe() -> TextIO:
    """Return a pipe without a reader, instead of a standard output that was closed."""
    reader, writer = os.pipe()  # the reader has the lowest free number, that of the missing output
    os.dup2(writer, reader)
    os.close(writer)
    return os.fdopen(reader, "w", encoding="utf-8")


def _null() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
