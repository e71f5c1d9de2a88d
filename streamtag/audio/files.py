"""The files that arguments stand for: folders and patterns become lists of sounds."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamtag.audio.address import Address
from streamtag.errors import SourceError
from streamtag.text import describe_os_error

# Only what a folder is searched for; a file that is named outright may end as it likes.
_AUDIO = (
    "aac ac3 aif aifc aiff alac amr ape au caf dsf dts eac3 flac m4a m4b mka mp2 mp3 mpc oga ogg opus ra snd"
    " spx tta w64 wav wave weba wma wv"
)
_VIDEO = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv"
SUFFIXES = frozenset(f".{suffix}" for suffix in f"{_AUDIO} {_VIDEO}".split())


def find_files(arguments: Sequence[str]) -> list[str]:
    """Every sound that the arguments name, in their order, each once; those of a folder sorted by path.

    Folders are searched recursively for the suffixes of audio and video; hidden files and folders are passed
    over. A pattern (`*`, `?`, `[...]`, `**`) is one only if no file has that very name. Addresses and "-"
    pass through. Raises SourceError for a missing path, and a pattern or folder without audio.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        found.update(dict.fromkeys(_expand(argument)))
    return list(found)


def _expand(argument: str) -> Iterator[str]:
    address = Address.of(argument)
    if address.kind != "file":
        yield argument
        return
    path = Path(argument)
    if _exists(path, address.label):
        yield from _of_path(path, address.label)
    elif glob.has_magic(argument):
        # glob's own function, since Path.glob takes no absolute patterns
        matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207
        found = [file for match in matches for file in _of_match(match)]
        if not found:
            raise SourceError(f"{address.label}: no audio file fits this pattern")
        yield from found
    else:
        raise SourceError(f"{address.label}: no such file")


def _exists(path: Path, label: str) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise SourceError(f"{label}: {describe_os_error(error)}") from None
    return True


def _of_path(path: Path, label: str) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
        return
    try:
        os.scandir(path).close()  # os.walk would pass over a folder that it may not read
    except OSError as error:
        raise SourceError(f"{label}: {describe_os_error(error)}") from None
    sounds = list(_sounds_below(path))
    if not sounds:
        raise SourceError(f"{label}: no audio files in this folder")
    yield from sounds


def _of_match(path: Path) -> Iterator[str]:
    """A pattern's match: its folders are searched like others, but may well be without audio."""
    if path.is_dir():
        yield from _sounds_below(path)
    elif path.suffix.lower() in SUFFIXES:
        yield str(path)


def _sounds_below(folder: Path) -> Iterator[str]:
    files: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += (Path(root, name) for name in names if not name.startswith("."))
    yield from (str(file) for file in sorted(files) if file.suffix.lower() in SUFFIXES and file.is_file())
