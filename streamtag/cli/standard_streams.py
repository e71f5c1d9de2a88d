"""Standard output and standard error as a program may find them: full, closed, or not read by anybody any more."""

from __future__ import annotations

import io
import os
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from streamtag.errors import OutputError
from streamtag.text import describe_os_error


class Rewritten(io.TextIOWrapper):
    """Writes into the buffer of another text stream, in its place. Raises BrokenPipeError once, then goes nowhere."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._before = stream  # if nobody held it, the buffer would be closed with it

    def write(self, text: str) -> int:
        if text != "":  # typer writes nothing to see whether it may, and would hide what comes of it
            self._watched(lambda: super(Rewritten, self).write(text))
        return len(text)

    def flush(self) -> None:
        self._watched(super().flush)

    def silence(self) -> None:
        """What is still buffered, and all that follows, goes nowhere."""
        with suppress(OSError, ValueError):  # no real file: nothing is buffered by the system
            place = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, place)
            os.close(nowhere)

    def leave(self) -> None:
        """The buffer is the other stream's again, with nothing in it that fails when Python ends."""
        try:
            super().flush()
        except OSError:
            self.silence()
        with suppress(OSError, OutputError):
            self.detach()

    def _watched(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BrokenPipeError:  # nobody reads any more
            self.silence()
            raise
        except OSError as error:
            self.failed(error)

    @abstractmethod
    def failed(self, error: OSError) -> None:
        """It could not be written."""


class StandardOutput(Rewritten):
    """A failure is told as an OutputError. What comes after it goes nowhere: whoever tells of it on the same stream
    does not fail again."""

    def failed(self, error: OSError) -> None:
        self.silence()
        raise OutputError(f"standard output: cannot write: {describe_os_error(error)}") from None


class StandardError(Rewritten):
    """A failure is passed over: a server lives on when the disk with its log is full."""

    def failed(self, error: OSError) -> None:
        pass


@contextmanager
def standard_streams() -> Iterator[None]:
    """While entered, sys.stdout is a StandardOutput and sys.stderr a StandardError, also where they were closed."""
    before = sys.stdout, sys.stderr
    with ExitStack() as ends:
        sys.stdout = _in_place_of(before[0] or ends.enter_context(_unread()), StandardOutput, ends)
        sys.stderr = _in_place_of(before[1] or ends.enter_context(_nowhere()), StandardError, ends)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def _in_place_of(stream: TextIO, kind: type[Rewritten], ends: ExitStack) -> TextIO:
    """The stream itself where it is no file of this interpreter's making, as in tests."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    with suppress(OSError):
        stream.flush()
    rewritten = kind(stream)
    ends.callback(rewritten.leave)
    return rewritten


def _unread() -> TextIO:
    """In the place of a standard output that was closed: a pipe that nobody reads."""
    place, writer = os.pipe()  # `place`, to read from, has the lowest number free, that of the output that is missing
    os.dup2(writer, place)
    os.close(writer)
    return os.fdopen(place, "w", encoding="utf-8")


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
