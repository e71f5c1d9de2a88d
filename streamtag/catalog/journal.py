"""The results of a collection on disk, as they come: the next run continues a run that was killed at any moment.

OUT.journal/entries.jsonl   one line per file, appended; of two lines of one file the later is current
                            (or a line that removes it)
OUT.journal/frames-N.f32    all frames that are kept, [tags] float32, one after the other; empty without --frames
OUT.journal/folders         the working folders of all runs, to which relative paths in tables refer, as JSON lines
OUT.journal/lock            held during a run

Frames reach the disk (fsync) before the lines that name them, and both at most a second later. Once most of it is
replaced, the current part is written to a new pair of files: the first line names the file of frames, so one rename
changes both.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from streamtag.audio.source import Closing
from streamtag.catalog.files import AudioFile
from streamtag.catalog.journal_index import (
    ENTRIES,
    JournalIndex,
    Line,
    create,
    line_of,
    read_index,
    removal,
    rewrite,
)
from streamtag.catalog.result import FileResult
from streamtag.errors import OutputError
from streamtag.sinks.atomic_file import cannot_write

COMMIT_INTERVAL_S = 1.0  # what a kill can cost
FRAMES_PER_READ = 1 << 14
LOCK = "lock"
FOLDERS = "folders"


class Journal(Closing):
    """Owned by one thread of one process: a second run is refused during the first.

    Memory holds a few numbers per file; results are read when they are requested. folders: the working folders of all
    runs, this one's too.
    """

    def __init__(self, folder: Path, replace: bool = False) -> None:
        """Create the folder, or open the existing one. replace: if that is of another kind or version, begin anew.

        Raises OutputError.
        """
        self.folder = folder
        self._pending: list[FileResult] = []
        self._committed_at = time.monotonic()
        with ExitStack() as resources:
            try:
                folder.mkdir(exist_ok=True)
                resources.enter_context(FileLock(folder / LOCK).acquire(blocking=False))
                index = _open_index(folder, replace)
                self.folders = _note_folder(folder / FOLDERS, str(Path.cwd()))
                self._frames = resources.enter_context(index.frames.open("a+b", buffering=0))
                self._entries = resources.enter_context((folder / ENTRIES).open("a+b", buffering=0))
            except Timeout:
                raise OutputError(f"{folder}: another run is writing this catalogue") from None
            except OSError as error:
                raise cannot_write(folder, error) from None
            self._lines = index.lines
            self._resources = resources.pop_all()

    @property
    def entries(self) -> Mapping[str, Line]:
        """The committed results by path from the root."""
        return self._lines

    def read(self, abspath: str) -> FileResult:
        """Return the committed result of a file that is among `entries`."""
        line = self._lines[abspath]
        return FileResult.from_json(os.pread(self._entries.fileno(), line.length, line.start))

    def find(self, file: AudioFile, model: str) -> FileResult | None:
        """Return the committed result of the file; None if there is none, the file has changed, or the model has."""
        if file.abspath not in self._lines:
            return None
        result = self.read(file.abspath)
        return result if result.is_valid_for(file, model) else None

    def add(self, result: FileResult, frames: NDArray[np.float32] | None) -> FileResult:
        """Add a result, and its frames [result.frames, tags] if they are kept.

        Returns the result with the place of its frames. Raises OutputError.
        """
        if frames is not None:
            offset = self._frames.seek(0, os.SEEK_END)
            self._write(self._frames.fileno(), frames.astype("<f4", copy=False).tobytes())
            result = replace(result, frames_offset=offset)
        self._pending.append(result)
        if time.monotonic() - self._committed_at > COMMIT_INTERVAL_S:
            self.commit()
        return result

    def commit(self) -> None:
        """Write everything so far to the disk. Raises OutputError."""
        lines = [result.to_json().encode() + b"\n" for result in self._pending]
        start = self._entries.seek(0, os.SEEK_END)
        self._write(self._entries.fileno(), b"".join(lines), sync_before=self._frames.fileno())
        for result, line in zip(self._pending, lines, strict=True):
            self._lines[result.abspath] = line_of(result, start, len(line))
            start += len(line)
        self._pending = []
        self._committed_at = time.monotonic()

    def remove(self, abspaths: Iterable[str]) -> None:
        """Remove committed results. Raises OutputError."""
        removed = [abspath for abspath in abspaths if abspath in self._lines]
        self._entries.seek(0, os.SEEK_END)
        self._write(self._entries.fileno(), b"".join(map(removal, removed)), sync_before=self._frames.fileno())
        for abspath in removed:
            del self._lines[abspath]

    def frames(self, result: FileResult, tags: int, rows: int = FRAMES_PER_READ) -> Iterator[NDArray[np.float32]]:
        """Yield a committed result's frames in blocks [n, tags], n <= rows. Raises OutputError if they are missing."""
        if result.frames_offset is None:
            raise OutputError(f"{self.folder}: has no frames of {result.abspath!r}; delete it to begin anew")
        for row in range(0, result.frames, rows):
            size, start = 4 * tags * min(rows, result.frames - row), result.frames_offset + 4 * tags * row
            data = os.pread(self._frames.fileno(), size, start)
            if len(data) != size:
                raise OutputError(f"{self.folder}: its frames are cut off; delete it to begin anew")
            yield np.frombuffer(data, "<f4").reshape(-1, tags)

    def close(self) -> None:
        """Close the files. Uncommitted results are lost."""
        self._resources.close()

    def _write(self, file: int, data: bytes, sync_before: int | None = None) -> None:
        """sync_before: a file that must be on the disk before this one."""
        try:
            if sync_before is not None:
                os.fsync(sync_before)
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            if sync_before is not None:
                os.fsync(file)
        except OSError as error:
            raise cannot_write(self.folder, error) from None


def _open_index(folder: Path, replace: bool) -> JournalIndex:
    """Read the index, after a rewrite if lines are damaged or most of the bytes are replaced."""
    try:
        index = read_index(folder)
    except OutputError:
        if not replace:
            raise
        create(folder)
        index = read_index(folder)
    if index.is_damaged or index.dead_bytes > index.live_bytes:
        rewrite(folder, index)
        index = read_index(folder)
    for path in folder.glob("*.f32"):
        if path != index.frames:  # of a rewrite that was killed
            path.unlink()
    return index


def _note_folder(path: Path, folder: str) -> tuple[str, ...]:
    """Return the folders in the file at path; append this one if it is missing. Raises OSError."""
    folders: list[str] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # empty, or cut off by a kill
                folders.append(str(json.loads(line)))
    if folder not in folders:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(folder)}\n")  # the last line may be cut off
            file.flush()
            os.fsync(file.fileno())
        folders.append(folder)
    return tuple(folders)
