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
WEB_SCHEMES = ("http", "https")
LIVE_SCHEMES = ("rtsp", "rtsps", "srt", "rtmp")  # they have no files, only streams without an announced end
Kind = Literal["file", "url", "pipe"]
OnUnreadable = Callable[[OSError], None]

# Only what a folder is searched for; a file that is named outright may have any suffix.
_AUDIO = (
    "aac ac3 aif aifc aiff alac amr ape au caf dsf dts eac3 flac m4a m4b mka mp2 mp3 mpc oga ogg opus ra snd"
    " spx tta w64 wav wave weba wma wv"
)
_VIDEO = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv"
SUFFIXES = frozenset(f".{suffix}" for suffix in f"{_AUDIO} {_VIDEO}".split())


@dataclass(frozen=True)
class Address:
    """An input as the user wrote it (`where`), and its names.

    label: for messages, one printable line without a password. name: the short form that names a stream.
    """

    where: str
    kind: Kind
    label: str
    name: str

    @property
    def suffix(self) -> str:
        """The suffix of a file, such as ".mp3"; empty if there is none, or a strange one."""
        suffix = Path(self.where).suffix if self.kind == "file" else ""
        return suffix if suffix[1:].isalnum() and suffix.isascii() else ""

    @property
    def scheme(self) -> str:
        """The scheme of a URL in lower case."""
        return urlsplit(self.where).scheme if self.kind == "url" else ""

    @classmethod
    def of(cls, where: str, allow_live: bool = False) -> Self:
        """Return the address of a path, a URL or "-". allow_live: also of a stream that has no file.

        Raises SourceError if it is empty or has another scheme.
        """
        if not where:
            raise SourceError("the name of the sound is empty: give a path, an address, or - for standard input")
        if where == STANDARD_INPUT:
            return cls(where, "pipe", "standard input", "stdin")
        scheme = re.match(r"([a-z][a-z0-9+.-]+)://", where, re.IGNORECASE)
        if scheme is None:
            return cls(where, "file", printable(where), printable(Path(where).name or where))
        schemes = WEB_SCHEMES + LIVE_SCHEMES if allow_live else WEB_SCHEMES
        if scheme[1].lower() not in schemes:
            *others, last = (f"{scheme}://" for scheme in schemes)
            hint = "; `streamtag listen --from` reads live streams" if scheme[1].lower() in LIVE_SCHEMES else ""
            raise SourceError(
                f"{_without_password(where)}: only {', '.join(others)} and {last} addresses can be opened{hint}"
            )
        return cls(where, "url", *_names_of_url(where))


def _without_password(where: str) -> str:
    return re.sub("//[^/]*@", "//", printable(where))


def _names_of_url(where: str) -> tuple[str, str]:
    """Return its label and name. Raises SourceError."""
    try:
        parts = urlsplit(where)
        host = parts.netloc.rpartition("@")[2]
        if not parts.hostname:
            raise ValueError("no host in it")
    except ValueError as error:
        raise SourceError(f"{_without_password(where)}: not an address: {error}") from None
    label = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or host
    return printable(label), printable(name)


def stream_names(sources: Sequence[str]) -> list[str]:
    """Return one name per source: the last part of the path or URL, made unique as in `song.mp3 (2)`.

    Raises SourceError for what is not an address.
    """
    return unique(Address.of(source).name for source in sources)


def target_paths(target: Path, streams: Sequence[str]) -> list[Path]:
    """Return where each stream's own result goes: `target` itself for one stream, `F-<stem>.labels` for several."""
    if len(streams) == 1:
        return [target]
    names = [re.sub(r"[/\\]", "_", name) for name in streams]  # a URL's may contain separators
    stems = unique(Path(name).stem or name for name in names)
    return [target.with_name(f"{target.stem}-{stem}{target.suffix}") for stem in stems]


def find_files(arguments: Sequence[str], on_unreadable: OnUnreadable | None = None) -> list[str]:
    """Return all inputs that the arguments name, in their order, each once; those of a folder sorted by path.

    Folders are searched recursively for the suffixes of audio and video; hidden files and folders are skipped.
    A pattern (`*`, `?`, `[...]`, `**`) is one only if no file has that very name. URLs and "-" are returned as they
    are. on_unreadable: called for folders below that cannot be read.

    Raises SourceError for a missing path, and for a pattern or folder without audio.
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
        yield from _expand_path(path, address.label, on_unreadable)
    elif glob.has_magic(argument):
        # glob's own function, since Path.glob takes no absolute patterns
        matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207
        found = [file for match in matches for file in _expand_match(match, on_unreadable)]
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


def _expand_path(path: Path, label: str, on_unreadable: OnUnreadable | None) -> Iterator[str]:
    if not path.is_dir():
        yield str(path)
        return
    try:
        os.scandir(path).close()  # os.walk would pass over a folder that it may not read
    except OSError as error:
        raise SourceError(f"{label}: {describe_os_error(error)}") from None
    files = list(_audio_files_below(path, on_unreadable))
    if not files:
        raise SourceError(f"{label}: no audio files in this folder")
    yield from files


def _expand_match(path: Path, on_unreadable: OnUnreadable | None) -> Iterator[str]:
    """As _expand_path, but a folder that matches a pattern may be without audio."""
    if path.is_dir():
        yield from _audio_files_below(path, on_unreadable)
    elif path.suffix.lower() in SUFFIXES:
        yield str(path)


def _audio_files_below(folder: Path, on_unreadable: OnUnreadable | None) -> Iterator[str]:
    files: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=on_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += (Path(root, name) for name in names if not name.startswith("."))
    yield from (str(file) for file in sorted(files) if file.suffix.lower() in SUFFIXES and file.is_file())
