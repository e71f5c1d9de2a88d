"""The files of a collection: each path once, with what tells whether it has changed since it was heard."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamtag.audio.files import Address, find_files
from streamtag.errors import SourceError
from streamtag.text import describe_os_error


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file. path: as the user spelt it; place: the same from the root, which names it in the journal.

    size in bytes, mtime_ns: when it was last written; identity: the same for all names of one file.
    """

    path: str
    place: str
    size: int
    mtime_ns: int
    identity: tuple[int, int]

    @property
    def text(self) -> str:
        """The path as valid UTF-8: bytes that are none become `\\xff`."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Collection:
    """sounds: each place once, in the arguments' order, those of a folder sorted. missing: what could not be found."""

    sounds: tuple[AudioFile, ...]
    missing: tuple[SourceError, ...]

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Collection:
        """Files, folders with all they hold (links to folders are not followed), and patterns."""
        sounds: dict[str, AudioFile] = {}
        missing: list[SourceError] = []
        for argument in arguments:
            try:
                if Address.of(argument).kind != "file":
                    raise SourceError(f"{Address.of(argument).label}: a collection has files only")
                for path in find_files([argument]):
                    place = os.path.abspath(path)  # noqa: PTH100  Path.absolute keeps ".."
                    if place not in sounds:
                        sounds[place] = _sound(path, place)
            except SourceError as error:
                missing.append(error)
            missing += _closed_folders(argument)
        return cls(tuple(sounds.values()), tuple(missing))


def _sound(path: str, place: str) -> AudioFile:
    """Raises SourceError for what has no end, or is gone."""
    label = Address.of(path).label
    try:
        status = Path(path).stat()
    except OSError as error:
        raise SourceError(f"{label}: {describe_os_error(error)}") from None
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{label}: not a plain file: it may have no end")
    return AudioFile(path, place, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))


def _closed_folders(argument: str) -> Iterator[SourceError]:
    """Folders below a folder that may not be read: whatever they hold would be missing unseen."""
    errors: list[OSError] = []
    for _, folders, _ in os.walk(argument, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
    for error in errors:
        if error.filename is not None and Path(error.filename) != Path(argument):
            yield SourceError(f"{Address.of(str(error.filename)).label}: {describe_os_error(error)}")
