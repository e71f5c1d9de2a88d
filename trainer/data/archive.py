"""A zip that lies there in parts of bytes, unpacked without joining them first."""

from __future__ import annotations

import io
import shutil
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from streamtag.errors import ManifestError, OutputError
from trainer.data.magnatagatune import MP3_PATH

LARGEST = 1 << 24  # bytes of an MP3; the real ones have about 120,000
SHOWN = 3  # damaged members that an error names


class Joined(io.RawIOBase):
    """Files one after another, as one that can be read and sought in."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._ends = list(accumulate(path.stat().st_size for path in paths))
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._ends[-1]}[whence]
        if base + offset < 0:
            raise OSError("before the start of the file")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        number = bisect_right(self._ends, self._place)
        if number == len(self._files):
            return 0
        file = self._files[number]
        file.seek(self._place - (self._ends[number - 1] if number else 0))
        count = file.readinto(buffer)
        self._place += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def unpack(parts: Sequence[Path], root: Path) -> Iterator[tuple[int, int]]:
    """The MP3s of the zip below `root`; yields (files done, files in it). Those that are there are not written again.

    A file is complete or absent. Raises ManifestError if the parts are no zip, hold something else than MP3s in the
    folders 0 to f, or damaged ones (after all others are unpacked); OutputError if there is no room.
    """
    name = f"{parts[0]} and the parts after it"
    try:
        with io.BufferedReader(Joined(parts), 1 << 20) as whole, zipfile.ZipFile(whole) as archive:
            members = [member for member in archive.infolist() if not member.filename.endswith("/")]
            _check(members, name, root)
            damaged = []
            for done, member in enumerate(members, start=1):
                target = root / member.filename
                if not target.is_file() or target.stat().st_size != member.file_size:
                    try:
                        _write(_content(archive, member), target)
                    except (zipfile.BadZipFile, zlib.error, EOFError):
                        damaged.append(member.filename)
                yield done, len(members)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise ManifestError(f"{name}: not a whole zip: {error}: remove them and run download again") from error
    except OSError as error:
        raise OutputError(f"{root}: cannot be written: {error.strerror or error}: run it again") from error
    if damaged:
        shown = ", ".join(damaged[:SHOWN]) + (", ..." if len(damaged) > SHOWN else "")
        raise ManifestError(f"{name}: {len(damaged):,} damaged: {shown}: remove them and run download again")


def _check(members: Sequence[zipfile.ZipInfo], name: str, root: Path) -> None:
    for member in members:
        if not MP3_PATH.fullmatch(member.filename):
            raise ManifestError(f"{name}: {member.filename!r} in it is not FOLDER/NAME.mp3 with FOLDER 0-f")
        if member.file_size > LARGEST:
            raise ManifestError(f"{name}: {member.filename!r} in it has {member.file_size:,} bytes")
    missing = sum(member.file_size for member in members if not (root / member.filename).is_file())
    free = shutil.disk_usage(root).free
    if missing > free:
        raise OutputError(f"{root}: {missing / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free")


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Raises BadZipFile if it is damaged: also if the directory claims no bytes, whose checksum of 0 would be right."""
    content = archive.read(member)
    if len(content) != member.file_size:
        raise zipfile.BadZipFile(f"{len(content)} bytes, not {member.file_size}")
    return content


def _write(content: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.part")
    aside.write_bytes(content)
    aside.replace(target)
