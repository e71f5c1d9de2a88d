"""The files of a collection: each path once, with what shows whether it has changed since it was tagged."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamtag.audio.files import Address, find_files
from streamtag.errors import SourceError
from streamtag.text import describe_os_error


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file. path: as the user wrote it. abspath: the same from the root, its name in the journal.

    size in bytes; mtime_ns: time of the last change; identity: equal for all names of one file.
    """

    path: str
    abspath: str
    size: int
    mtime_ns: int
    identity: tuple[int, int]


@dataclass(frozen=True)
class Collection:
    """files: each path once, in the arguments' order, those of a folder sorted. errors: what could not be found."""

    files: tuple[AudioFile, ...]
    errors: tuple[SourceError, ...]

    @classmethod
    def find(cls, arguments: Sequence[str]) -> Collection:
        """Find files, folders with everything in them (links to folders are not followed), and patterns."""
        files: dict[str, AudioFile] = {}
        errors: list[SourceError] = []
        for argument in arguments:
            unreadable: list[OSError] = []
            try:
                if Address.of(argument).kind != "file":
                    raise SourceError(f"{Address.of(argument).label}: a collection has files only")
                for path in find_files([argument], unreadable.append):
                    abspath = absolute(path)
                    if abspath not in files:
                        files[abspath] = _audio_file(path, abspath)
            except SourceError as error:
                errors.append(error)
            for problem in unreadable:
                folder = Address.of(str(problem.filename)).label
                errors.append(SourceError(f"{folder}: {describe_os_error(problem)}"))
        return cls(tuple(files.values()), tuple(errors))


def as_utf8(path: str) -> str:
    """Return the path as valid UTF-8: invalid bytes become `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def absolute(path: str) -> str:
    """Return the path from the root, without `.` and `..`; links are not followed."""
    return os.path.abspath(path)  # noqa: PTH100  Path.absolute keeps ".."


def is_gone(path: str) -> bool:
    """Return whether there is no such file; False if that cannot be known."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def hard_links(files: Sequence[AudioFile]) -> dict[tuple[int, int], list[AudioFile]]:
    """Group the names of each file by its identity: it is tagged once."""
    names: dict[tuple[int, int], list[AudioFile]] = {}
    for file in files:
        names.setdefault(file.identity, []).append(file)
    return names


def _audio_file(path: str, abspath: str) -> AudioFile:
    """Raise SourceError for a file that is missing or may have no end."""
    label = Address.of(path).label
    try:
        status = Path(path).stat()
    except OSError as error:
        raise SourceError(f"{label}: {describe_os_error(error)}") from None
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{label}: not a plain file: it may have no end")
    return AudioFile(path, abspath, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))
