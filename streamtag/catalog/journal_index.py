"""The files of a journal as they are found: which lines are current, replaced or damaged; and how to rewrite them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from streamtag.catalog.result import FileResult
from streamtag.errors import OutputError

ENTRIES = "entries.jsonl"
_REMOVED = "removed"
_VERSION = 2  # 1: before there were concepts


class Line(NamedTuple):
    """Where the current line of a file is, in bytes; the model that it was tagged with, and whether its frames are
    kept."""

    start: int
    length: int
    model: str
    has_frames: bool


@dataclass(frozen=True)
class JournalIndex:
    """lines: the current one of each path. frames: the file of frames, which has this number.

    is_damaged: a line is invalid, or its frames are missing. live_bytes, dead_bytes: of current and of replaced lines
    and frames; frames that several names of a file share count once.
    """

    lines: dict[str, Line]
    frames: Path
    number: int
    is_damaged: bool
    live_bytes: int
    dead_bytes: int


def line_of(result: FileResult, start: int, length: int) -> Line:
    """Return where a result is that was written there."""
    return Line(start, length, sys.intern(result.model), result.frames_offset is not None)


def removal(abspath: str) -> bytes:
    """Return a line that removes the result of a file."""
    return json.dumps({_REMOVED: abspath}).encode() + b"\n"


def create(folder: Path) -> None:
    """Begin anew, whatever is there. Raises OSError."""
    _write_atomically(folder / ENTRIES, [_header(1)])


def read_index(folder: Path) -> JournalIndex:
    """Read the files, and create them if there are none.

    Raises OutputError if they are of another kind or version, and OSError.
    """
    path = folder / ENTRIES
    if not path.exists():
        create(folder)
    lines: dict[str, Line] = {}
    blocks: dict[str, tuple[int, int]] = {}  # offset and size of each path's frames
    is_damaged = False
    with path.open("rb") as file:
        number = _read_number(folder, file.readline())
        frames = _frames_path(folder, number)
        frames.touch()
        frames_size = frames.stat().st_size
        first = start = file.tell()
        for line in file:
            found = _parse(line, frames_size)
            if isinstance(found, FileResult):
                lines[found.abspath] = line_of(found, start, len(line))
                blocks[found.abspath] = found.frames_offset or 0, _frame_bytes(found)
            elif found is not None:
                for each in (lines, blocks):
                    each.pop(found, None)
            is_damaged |= found is None
            start += len(line)
    shared = {offset: size for offset, size in blocks.values() if size}
    live = sum(line.length for line in lines.values()) + sum(shared.values())
    return JournalIndex(lines, frames, number, is_damaged, live, start - first + frames_size - live)


def rewrite(folder: Path, index: JournalIndex) -> None:
    """Write the current lines and frames to a new pair of files. Raises OSError.

    A kill at any moment leaves either the old pair or the new one.
    """
    number = index.number + 1
    with (
        (folder / ENTRIES).open("rb") as entries,
        index.frames.open("rb") as old_frames,
        _frames_path(folder, number).open("wb") as new_frames,
    ):
        lines = _move_frames(index, entries, old_frames, new_frames)
        _write_atomically(folder / ENTRIES, [_header(number)], lines, sync_before=new_frames)


def _move_frames(index: JournalIndex, entries: BinaryIO, old: BinaryIO, new: BinaryIO) -> Iterator[bytes]:
    """Yield the current lines in order after copying their frames, those of several names once."""
    moved: dict[int, int] = {}  # old offset to new one
    for start, length, *_ in index.lines.values():
        entries.seek(start)
        line = entries.read(length)
        result = FileResult.from_json(line)
        if result.frames_offset is not None:
            offset, size = new.tell(), _frame_bytes(result)
            if size:
                offset = moved.setdefault(result.frames_offset, offset)
                if offset == new.tell():
                    old.seek(result.frames_offset)
                    new.write(old.read(size))
            line = replace(result, frames_offset=offset).to_json().encode() + b"\n"
        yield line


def _write_atomically(path: Path, *parts: Iterable[bytes], sync_before: BinaryIO | None = None) -> None:
    """Replace the file by these lines. sync_before: a file that must be on the disk before it."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for lines in parts:
            file.writelines(lines)
        for each in (sync_before, file):
            if each is not None:
                each.flush()
                os.fsync(each.fileno())
    part.replace(path)
    if hasattr(os, "O_DIRECTORY"):  # where a folder can be opened: the new name must be on the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _header(number: int) -> bytes:
    return json.dumps({"streamtag catalogue": _VERSION, "frames": number}).encode() + b"\n"


def _read_number(folder: Path, line: bytes) -> int:
    try:
        header = json.loads(line)
        number = header["frames"]
        if header["streamtag catalogue"] == _VERSION and type(number) is int:
            return number
    except (ValueError, TypeError, KeyError):
        pass
    raise OutputError(
        f"{folder}: not a catalogue's journal, or one of another version of streamtag: --replace begins anew,"
        " another --out leaves it"
    )


def _frames_path(folder: Path, number: int) -> Path:
    return folder / f"frames-{number}.f32"


def _parse(line: bytes, frames_size: int) -> FileResult | str | None:
    """Return the result of a line, or the path whose result it removes.

    None if it is invalid, or not all its frames are in the file of that size.
    """
    if not line.endswith(b"\n"):
        return None
    try:
        result = FileResult.from_json(line)
    except OutputError:
        return _removed(line)
    is_whole = result.frames_offset is None or 0 <= result.frames_offset <= frames_size - _frame_bytes(result)
    return result if is_whole else None


def _removed(line: bytes) -> str | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    path = values.get(_REMOVED) if isinstance(values, dict) and len(values) == 1 else None
    return path if isinstance(path, str) else None


def _frame_bytes(result: FileResult) -> int:
    if result.means is None or result.frames_offset is None:
        return 0
    return 4 * result.frames * result.means.size
