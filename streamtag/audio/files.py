"""Input addresses, the names of the streams and result files made from them, and folders expanded into audio files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from streamtag.errors import SourceError
from streamtag.text import describe_os_error, printable, unique

STANDARD_INPUT = "-"
Kind = Literal["file", "url", "pipe"]
OnUnreadable = Callable[[OSError], None]


@dataclass(frozen=True)
class Address:
    """What the user wrote, and how to speak of it.

    label: for messages, one printable line without a password. name: the short form that names a stream.
    """

    where: str
    kind: Kind
    label: str
    name: str

    @property
    def suffix(self) -> str:
        """Of a file, such as ".mp3"; empty where there is none, or a strange one."""
        suffix = Path(self.where).suffix if self.kind == "file" else ""
        return suffix if suffix[1:].isalnum() and suffix.isascii() else ""

    @classmethod
    def of(cls, where: str) -> Self:
        """Raises SourceError if it is empty or an address of another kind than http and https."""
        if not where:
            raise SourceError("the name of the sound is empty: give a path, an address, or - for standard input")
        if where == STANDARD_INPUT:
            return cls(where, "pipe", "standard input", "stdin")
        scheme = re.match(r"([a-z][a-z0-9+.-]+)://", where, re.IGNORECASE)
        if scheme is None:
            return cls(where, "file", printable(where), printable(Path(where).name or where))
        if scheme[1].lower() not in ("http", "https"):
            raise SourceError(f"{printable(where)}: only http:// and https:// addresses can be opened")
        return cls(where, "url", *_names_of_url(where))


def _names_of_url(where: str) -> tuple[str, str]:
    try:
        parts = urlsplit(where)
        host = parts.netloc.rpartition("@")[2]
        if not parts.hostname:
            raise ValueError("no host in it")
    except ValueError as error:
        raise SourceError(f"{printable(where)}: not an address: {error}") from None
    label = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or host
    return printable(label), printable(name)


def stream_names(sources: Sequence[str]) -> list[str]:
    """One name per source, unique: the file's or the URL's last part, `song.mp3 (2)` where two share one.

    Raises SourceError for what is no address.
    """
    return unique(Address.of(source).name for source in sources)


def target_paths(target: Path, streams: Sequence[str]) -> list[Path]:
    """Where each stream's own result goes: `target` itself for one stream, `F-<stem>.labels` for several."""
    if len(streams) == 1:
        return [target]
    stems = unique(Path(name).stem or name for name in map(_safe, streams))
    return [target.with_name(f"{target.stem}-{stem}{target.suffix}") for stem in stems]


def _safe(name: str) -> str:
    """A stream's name as part of a file name: a URL's may hold separators."""
    return name.translate(str.maketrans("/\\", "__"))


# Only what a folder is searched for; a file that is named outright may end as it likes.
_AUDIO = (
    "aac ac3 aif aifc aiff alac amr ape au caf dsf dts eac3 flac m4a m4b mka mp2 mp3 mpc oga ogg opus ra snd"
    " spx tta w64 wav wave weba wma wv"
)
_VIDEO = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv"
SUFFIXES = frozenset(f".{suffix}" for suffix in f"{_AUDIO} {_VIDEO}".split())


def find_files(arguments: Sequence[str], on_unreadable: OnUnreadable | None = None) -> list[str]:
    """Every sound that the arguments name, in their order, each once; those of a folder sorted by path.

    Folders are searched recursively for the suffixes of audio and video; hidden files and folders are passed
    over. A pattern (`*`, `?`, `[...]`, `**`) is one only if no file has that very name. Addresses and "-"
    pass through. Raises SourceError for a missing path, and a pattern or folder without audio. on_unreadable: called
    for folders below that cannot be read.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        found.update(dict.fromkeys(_expand(argument, on_unreadable)))
    return list(found)


def _expand(argument: str, on_unreadable: OnUnreadable | None) -> Iterator[str]:
    address = Address.of(argument)
    if address.kind != "file":
        yield argument
        return
    path = Path(argument)
    if _exists(path, address.label):
        yield from _of_path(path, address.label, on_unreadable)
    elif glob.has_magic(argument):
        # glob's own function, since Path.glob takes no absolute patterns
        matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207
        found = [file for match in matches for file in _of_match(match, on_unreadable)]
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


def _of_path(path: Path, label: str, on_unreadable: OnUnreadable | None) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
        return
    try:
        os.scandir(path).close()  # os.walk would pass over a folder that it may not read
    except OSError as error:
        raise SourceError(f"{label}: {describe_os_error(error)}") from None
    sounds = list(_sounds_below(path, on_unreadable))
    if not sounds:
        raise SourceError(f"{label}: no audio files in this folder")
    yield from sounds


def _of_match(path: Path, on_unreadable: OnUnreadable | None) -> Iterator[str]:
    """A pattern's match: its folders are searched like others, but may well be without audio."""
    if path.is_dir():
        yield from _sounds_below(path, on_unreadable)
    elif path.suffix.lower() in SUFFIXES:
        yield str(path)


def _sounds_below(folder: Path, on_unreadable: OnUnreadable | None) -> Iterator[str]:
    files: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=on_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += (Path(root, name) for name in names if not name.startswith("."))
    yield from (str(file) for file in sorted(files) if file.suffix.lower() in SUFFIXES and file.is_file())
