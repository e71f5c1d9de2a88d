"""What is known of a collection, on disk as it grows: a run that is killed anywhere is gone on with by the next.

OUT.journal/entries.jsonl   a line a file, appended; of two lines of one file the later one holds
OUT.journal/frames-N.f32    every frame that is kept, [tags] float32, one after the other; empty without --frames
OUT.journal/lock            held while a run goes on

Frames reach the disk (fsync) before the lines that name them, and both a second later at most. What later lines
replaced is removed, once it is the larger part, by a new pair of files: the first line names the frames' file, so
that one rename changes both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from streamtag.audio.source import Closing
from streamtag.catalog.files import AudioFile
from streamtag.catalog.journal_index import ENTRIES, JournalIndex, read_lines, rewrite
from streamtag.catalog.result import FileResult
from streamtag.errors import OutputError
from streamtag.sinks.atomic_file import cannot_write

COMMIT_S = 1.0  # s; what a kill can cost
LOCK = "lock"


class Journal(Closing):
    """Owned by one thread of one process: a second run is refused while the first goes on.

    Memory holds two numbers a file; entries are read where they are asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Makes the folder, or goes on with what is there. Raises OutputError."""
        self.folder = folder
        self._waiting: list[FileResult] = []
        self._committed = time.monotonic()
        with ExitStack() as resources:
            try:
                folder.mkdir(exist_ok=True)
                resources.enter_context(FileLock(folder / LOCK).acquire(blocking=False))
                lines = _opened(folder)
                self._frames = resources.enter_context(lines.frames.open("a+b", buffering=0))
                self._entries = resources.enter_context((folder / ENTRIES).open("a+b", buffering=0))
            except Timeout:
                raise OutputError(f"{folder}: another run is writing this catalogue") from None
            except OSError as error:
                raise cannot_write(folder, error) from None
            self._places = lines.places
            self._resources = resources.pop_all()

    def entry(self, sound: AudioFile, model: str) -> FileResult | None:
        """What is known of the file as it is now; None if nothing is, or it has changed, or another model heard it."""
        if sound.place not in self._places:
            return None
        start, length = self._places[sound.place]
        entry = FileResult.of_json(os.pread(self._entries.fileno(), length, start))
        return entry if entry.stands_for(sound, model) else None

    def add(self, entry: FileResult, frames: NDArray[np.float32] | None) -> FileResult:
        """frames [entry.frames, tags], or None if they are not kept. -> the entry as it is kept. Raises OutputError."""
        if frames is not None:
            at = self._frames.seek(0, os.SEEK_END)
            self._write(self._frames.fileno(), frames.astype("<f4", copy=False).tobytes())
            entry = replace(entry, frames_at=at)
        self._waiting.append(entry)
        if time.monotonic() - self._committed > COMMIT_S:
            self.commit()
        return entry

    def commit(self) -> None:
        """Everything so far is on the disk afterwards. Raises OutputError."""
        lines = [entry.to_json().encode() + b"\n" for entry in self._waiting]
        start = self._entries.seek(0, os.SEEK_END)
        self._write(self._entries.fileno(), b"".join(lines), after=self._frames.fileno())
        for entry, line in zip(self._waiting, lines, strict=True):
            self._places[entry.place] = start, len(line)
            start += len(line)
        self._waiting = []
        self._committed = time.monotonic()

    def frames(self, entry: FileResult, tags: int, rows: int = 1 << 14) -> Iterator[NDArray[np.float32]]:
        """A committed entry's frames in blocks [n, tags]. Raises OutputError if they are not there."""
        if entry.frames_at is None:
            raise OutputError(f"{self.folder}: has no frames of {entry.place!r}; delete it to begin anew")
        for row in range(0, entry.frames, rows):
            size, start = 4 * tags * min(rows, entry.frames - row), entry.frames_at + 4 * tags * row
            data = os.pread(self._frames.fileno(), size, start)
            if len(data) != size:
                raise OutputError(f"{self.folder}: its frames are cut off; delete it to begin anew")
            yield np.frombuffer(data, "<f4").reshape(-1, tags)

    def close(self) -> None:
        """What was not committed is lost."""
        self._resources.close()

    def _write(self, file: int, data: bytes, after: int | None = None) -> None:
        """after: a file that must be on the disk before."""
        try:
            if after is not None:
                os.fsync(after)
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            if after is not None:
                os.fsync(file)
        except OSError as error:
            raise cannot_write(self.folder, error) from None


def _opened(folder: Path) -> JournalIndex:
    """What is there, without what a kill left half written, and without what is replaced, if that is the most."""
    lines = read_lines(folder)
    if lines.damaged or lines.dead_bytes > lines.live_bytes:
        rewrite(folder, lines)
        lines = read_lines(folder)
    for path in folder.glob("*.f32"):
        if path != lines.frames:  # of a rewriting that was killed
            path.unlink()
    return lines
