"""Frames of many clips in one file that only grows, so that it can be mapped into memory and go on after a kill.

    NAME.frames   float16 [frames, size], clip after clip, nothing else
    NAME.csv      a line a clip: clip_id, frames, problem (why it has none)

A clip's frames are written first, then its line. What lies beyond the last whole line is cut off when the store is
opened for writing, so the bytes are those of a run that nobody stopped.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import ManifestError, OutputError
from streamtag.text import one_line

Half = NDArray[np.float16]

HEAD = ("clip_id", "frames", "problem")


@dataclass(frozen=True)
class Entry:
    """One clip: its number of frames, and why there are none, if so."""

    clip_id: str
    frames: int
    problem: str = ""


class FrameStore:
    """One store, `size` features a frame. `path`: of the frames; the lines lie beside."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.lines = path.with_suffix(".csv")

    def entries(self) -> tuple[Entry, ...]:
        """Those that are whole, in the order of the file. Raises ManifestError if the lines are damaged."""
        if not self.lines.exists():
            return ()
        entries, frames = [], 0
        there = self.path.stat().st_size // (2 * self.size) if self.path.exists() else 0
        for line in self.lines.read_bytes().splitlines(keepends=True)[1:]:
            if not line.endswith(b"\n"):
                break
            entry = self._entry(line)
            frames += entry.frames
            if frames > there:  # the line reached the disk, the frames did not
                break
            entries.append(entry)
        return tuple(entries)

    def _entry(self, line: bytes) -> Entry:
        try:
            ((clip_id, frames, problem),) = csv.reader([line.decode()])
            entry = Entry(clip_id, int(frames), problem)
        except ValueError as error:
            raise ManifestError(f"{self.lines}: damaged, remove its folder ({error})") from error
        if entry.frames < 0:
            raise ManifestError(f"{self.lines}: damaged, remove its folder (frames {entry.frames})")
        return entry

    def map(self) -> Half:
        """All frames [frames, size], in memory as far as they are used; empty if there are none."""
        if not self.path.exists() or self.path.stat().st_size < 2 * self.size:
            return np.zeros((0, self.size), dtype=np.float16)
        frames = self.path.stat().st_size // (2 * self.size)
        return np.memmap(self.path, dtype=np.float16, mode="r", shape=(frames, self.size))

    @contextmanager
    def appending(self, keep: int) -> Iterator[Appender]:
        """Open for writing after the first `keep` entries; what lies beyond them is cut off.

        Raises OutputError if the disk does not take it: what is whole stays.
        """
        kept = self.entries()[:keep]
        with ExitStack() as files:
            with _reported(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # unbuffered: nothing is left to be written, and to fail, when they are closed
                frames = files.enter_context(self.path.open("ab", buffering=0))
                lines = files.enter_context(self.lines.open("ab", buffering=0))
                frames.truncate(2 * self.size * sum(entry.frames for entry in kept))
                head = _text([HEAD, *map(_fields, kept)])
                if self.lines.stat().st_size < len(head):
                    lines.truncate(0)
                    _write(lines, head)
                lines.truncate(len(head))
            yield Appender(self.path, frames, lines)


@dataclass(frozen=True)
class Appender:
    """A store that is open for writing."""

    path: Path
    frames: RawIOBase
    lines: RawIOBase

    def add(self, entry: Entry, frames: Half) -> None:
        """One clip's frames [F, size]. Raises OutputError if the disk does not take them."""
        with _reported(self.path):
            _write(self.frames, frames.tobytes())
            _write(self.lines, _text([_fields(entry)]))


def _fields(entry: Entry) -> Sequence[object]:
    return (entry.clip_id, entry.frames, one_line(entry.problem))


def _text(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write(file: RawIOBase, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}: what is done is kept, run it again"
        ) from error
