"""The files of a journal as they are found: which lines hold, which are replaced or damaged, and how to renew them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from streamtag.catalog.result import FileResult
from streamtag.errors import OutputError

ENTRIES = "entries.jsonl"
_VERSION = 1


@dataclass(frozen=True)
class JournalIndex:
    """places: where the line of each file begins, and its length, in bytes. frames: the file of frames, the number'th.

    damaged: a line is none, or its frames are not there. live_bytes, dead_bytes: of lines and frames that hold, and
    of those that are replaced.
    """

    places: dict[str, tuple[int, int]]
    frames: Path
    number: int
    damaged: bool
    live_bytes: int
    dead_bytes: int


def read_lines(folder: Path) -> JournalIndex:
    """Makes the files if there are none. Raises OutputError if they are of another kind or version, and OSError."""
    path = folder / ENTRIES
    if not path.exists():
        _put(path, [_header(1)])
    places: dict[str, tuple[int, int]] = {}
    weights: dict[str, int] = {}
    damaged = False
    with path.open("rb") as file:
        number = _number(folder, file.readline())
        frames = _frames_path(folder, number)
        frames.touch()
        kept = frames.stat().st_size
        first = start = file.tell()
        for line in file:
            entry = _entry(line, kept)
            if entry is None:
                damaged = True
            else:
                places[entry.place] = start, len(line)
                weights[entry.place] = len(line) + (0 if entry.frames_at is None else _frame_bytes(entry))
            start += len(line)
    live = sum(weights.values())
    return JournalIndex(places, frames, number, damaged, live, start - first + kept - live)


def rewrite(folder: Path, lines: JournalIndex) -> None:
    """Only what holds, in a new pair of files. Raises OSError. Killed anywhere, the old pair or the new one holds."""
    number = lines.number + 1
    with (
        (folder / ENTRIES).open("rb") as old,
        lines.frames.open("rb") as frames,
        _frames_path(folder, number).open("wb") as fresh,
    ):
        _put(folder / ENTRIES, [_header(number)], _moved(lines, old, frames, fresh), after=fresh)


def _moved(lines: JournalIndex, old: BinaryIO, frames: BinaryIO, fresh: BinaryIO) -> Iterator[bytes]:
    """The lines that hold, in order, and their frames moved to the fresh file."""
    for start, length in lines.places.values():
        old.seek(start)
        line = old.read(length)
        entry = FileResult.of_json(line)
        if entry.frames_at is not None:
            frames.seek(entry.frames_at)
            entry = replace(entry, frames_at=fresh.tell())
            fresh.write(frames.read(_frame_bytes(entry)))
            line = entry.to_json().encode() + b"\n"
        yield line


def _put(path: Path, *parts: Iterable[bytes], after: BinaryIO | None = None) -> None:
    """Whole or not at all. after: a file that must be on the disk before."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for lines in parts:
            file.writelines(lines)
        for each in (after, file):
            if each is not None:
                each.flush()
                os.fsync(each.fileno())
    part.replace(path)
    if hasattr(os, "O_DIRECTORY"):  # where a folder can be opened: its new name, too, is on the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _header(number: int) -> bytes:
    return json.dumps({"streamtag catalogue": _VERSION, "frames": number}).encode() + b"\n"


def _number(folder: Path, line: bytes) -> int:
    try:
        header = json.loads(line)
        number = header["frames"]
        if header["streamtag catalogue"] == _VERSION and type(number) is int:
            return number
    except (ValueError, TypeError, KeyError):
        pass
    raise OutputError(f"{folder}: not a catalogue's journal of this version; delete it to begin anew")


def _frames_path(folder: Path, number: int) -> Path:
    return folder / f"frames-{number}.f32"


def _entry(line: bytes, kept: int) -> FileResult | None:
    """kept: bytes of frames that are there."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = FileResult.of_json(line)
    except OutputError:
        return None
    there = entry.frames_at is None or 0 <= entry.frames_at <= kept - _frame_bytes(entry)
    return entry if there else None


def _frame_bytes(entry: FileResult) -> int:
    return 0 if entry.means is None else 4 * entry.frames * entry.means.size
