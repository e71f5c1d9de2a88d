"""Unpacking a zip file that is split into parts of bytes, without joining them first."""

from __future__ import annotations

import io
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from streamtag.errors import ManifestError
from trainer.data.magnatagatune import MP3_PATH
from trainer.files import check_free_space, report_write_errors, write_atomically

MAX_MP3_BYTES = 1 << 24  # the real ones have about 120,000
MAX_NAMED = 3  # damaged files that an error names


class ConcatenatedFiles(io.RawIOBase):
    """Several files as one, readable and seekable."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._ends = list(accumulate(path.stat().st_size for path in paths))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1]}[whence]
        if base + offset < 0:
            raise OSError("before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        number = bisect_right(self._ends, self._position)
        if number == len(self._files):
            return 0
        file = self._files[number]
        file.seek(self._position - (self._ends[number - 1] if number else 0))
        count = file.readinto(buffer)
        self._position += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def unpack(parts: Sequence[Path], root: Path, on_left_out: Callable[[str], None]) -> Iterator[tuple[int, int]]:
    """Unpack the MP3s of the zip file below `root`, and yield (files done, all files). Existing ones are kept.

    Every file is written completely or not at all. Anything but MP3s of a plausible size in the folders 0 to f is left
    out, and described to `on_left_out`. Raises ManifestError if the parts are not a zip file or contain damaged MP3s
    (after unpacking all others); OutputError without space.
    """
    name = f"{parts[0]} and the parts after it"
    try:
        with (
            report_write_errors(root, ": run it again"),
            io.BufferedReader(ConcatenatedFiles(parts), 1 << 20) as whole,
            zipfile.ZipFile(whole) as archive,
        ):
            members = list(_mp3s(archive, on_left_out))
            check_free_space(root, root, sum(m.file_size for m in members if not (root / m.filename).is_file()))
            damaged = []
            for done, member in enumerate(members, start=1):
                target = root / member.filename
                if not target.is_file() or target.stat().st_size != member.file_size:
                    try:
                        content = _read_member(archive, member)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        write_atomically(target, content)
                    except (zipfile.BadZipFile, zlib.error, EOFError):
                        damaged.append(member.filename)
                yield done, len(members)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise ManifestError(f"{name}: not a whole zip: {error}: remove them and run download again") from error
    if damaged:
        shown = ", ".join(damaged[:MAX_NAMED]) + (", ..." if len(damaged) > MAX_NAMED else "")
        raise ManifestError(f"{name}: {len(damaged):,} damaged: {shown}: remove them and run download again")


def _mp3s(archive: zipfile.ZipFile, on_left_out: Callable[[str], None]) -> Iterator[zipfile.ZipInfo]:
    """Yield the members to unpack, without folders and strays."""
    for member in archive.infolist():
        if member.filename.endswith("/"):
            continue
        if not MP3_PATH.fullmatch(member.filename):
            on_left_out(f"{member.filename!r} in the archive is not FOLDER/NAME.mp3 with FOLDER 0-f")
        elif member.file_size > MAX_MP3_BYTES:
            on_left_out(f"{member.filename!r} in the archive has {member.file_size:,} bytes")
        else:
            yield member


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Raise BadZipFile for damage, also if a directory entry claims no bytes, for which a checksum of 0 is right."""
    content = archive.read(member)
    if len(content) != member.file_size:
        raise zipfile.BadZipFile(f"{len(content)} bytes, not {member.file_size}")
    return content
