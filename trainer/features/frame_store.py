"""Frames of many clips in one file that only grows: it can be memory-mapped, and continued after a kill.

    NAME.frames   float16 [frames, size], clip after clip, nothing else
    NAME.csv      one line per clip: clip_id, frames, problem (why it has none), fingerprint (of its sound file)

The frames of a clip are written first, then its line. Opening the store for writing cuts off everything after the last
complete clip, so the bytes are those of an uninterrupted run.
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

from streamtag.errors import ManifestError
from trainer.files import report_write_errors, write_atomically

Half = NDArray[np.float16]

HEADER = ("clip_id", "frames", "problem", "fingerprint")
ADVICE = ": what is done is kept, run it again"


@dataclass(frozen=True)
class Entry:
    """One clip: its number of frames, why there are none, if so, and the fingerprint of its sound file, if known."""

    clip_id: str
    frames: int
    problem: str = ""
    fingerprint: str = ""


class FrameStore:
    """One store with `size` features per frame: the frames at `path`, the entries at `index_path` beside it."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.index_path = path.with_suffix(".csv")

    def entries(self) -> tuple[Entry, ...]:
        """Return the complete entries in the order of the file. Raises ManifestError if they are damaged."""
        if not self.index_path.exists():
            return ()
        entries, frames, stored = [], 0, self._stored_frames()
        for line in self.index_path.read_bytes().splitlines(keepends=True)[1:]:
            if not line.endswith(b"\n"):
                break
            entry = self._parse(line)
            frames += entry.frames
            if frames > stored:  # the line reached the disk, but its frames did not
                break
            entries.append(entry)
        return tuple(entries)

    def _stored_frames(self) -> int:
        return self.path.stat().st_size // (2 * self.size) if self.path.exists() else 0

    def _parse(self, line: bytes) -> Entry:
        try:
            ((clip_id, frames, *words),) = csv.reader([line.decode()])
            if not 1 <= len(words) <= 2:  # older stores have no fingerprints
                raise ValueError(f"{len(words) + 2} fields")
            entry = Entry(clip_id, int(frames), *words)
        except ValueError as error:
            raise ManifestError(f"{self.index_path}: damaged, remove its folder ({error})") from error
        if entry.frames < 0:
            raise ManifestError(f"{self.index_path}: damaged, remove its folder (frames {entry.frames})")
        return entry

    def map(self) -> Half:
        """Return all frames [frames, size], memory-mapped; empty if there are none."""
        frames = self._stored_frames()
        if not frames:
            return np.zeros((0, self.size), dtype=np.float16)
        return np.memmap(self.path, dtype=np.float16, mode="r", shape=(frames, self.size))

    def replace_entries(self, entries: Sequence[Entry]) -> None:
        """Write these entries in place of the existing ones. Raises OutputError."""
        content = _csv_bytes([HEADER, *map(_fields, entries)])
        if not self.index_path.exists() or self.index_path.read_bytes() != content:
            with report_write_errors(self.index_path, ADVICE):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.index_path, content)

    @contextmanager
    def appending(self, keep: int) -> Iterator[FrameWriter]:
        """Open for writing after the first `keep` entries; everything after them is cut off. Raises OutputError."""
        kept = self.entries()[:keep]
        self.replace_entries(kept)
        with ExitStack() as files:
            with report_write_errors(self.path, ADVICE):
                # unbuffered: nothing is left to be written, and to fail, when they are closed
                frames = files.enter_context(self.path.open("ab", buffering=0))
                lines = files.enter_context(self.index_path.open("ab", buffering=0))
                frames.truncate(2 * self.size * sum(entry.frames for entry in kept))
            yield FrameWriter(self.path, frames, lines)


@dataclass(frozen=True)
class FrameWriter:
    """A store that is open for writing."""

    path: Path
    frames: RawIOBase
    lines: RawIOBase

    def add(self, entry: Entry, frames: Half) -> None:
        """Append the frames [F, size] of one clip. Raises OutputError if that fails."""
        with report_write_errors(self.path, ADVICE):
            _write_all(self.frames, frames.tobytes())
            _write_all(self.lines, _csv_bytes([_fields(entry)]))


def _fields(entry: Entry) -> Sequence[object]:
    return (entry.clip_id, entry.frames, " ".join(entry.problem.split()), entry.fingerprint)


def _csv_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write_all(file: RawIOBase, data: bytes) -> None:
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[file.write(remaining) or 0 :]
