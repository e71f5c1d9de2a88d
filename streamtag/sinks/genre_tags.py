"""Writes genres into the tags of audio files: ID3, Vorbis comments, MP4 and others, through mutagen.

A file is changed in a copy that then takes its place, so that it is never half written: a symbolic link stays one,
other hard links keep the unchanged file. Audio and all other tags stay as they are.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamtag.audio.files import Address
from streamtag.errors import OutputError
from streamtag.inference.presence import end_verdict
from streamtag.protocol.messages import End, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.atomic_file import cannot_write
from streamtag.sinks.base import Sink
from streamtag.text import one_line

ID3_GENRE = "TCON"
GENRE_KEYS = {  # of the other kinds of tags, by their class in mutagen
    "VCommentDict": "genre",
    "MP4Tags": "\xa9gen",
    "APEv2": "Genre",
    "ASFTags": "WM/Genre",
}


class GenreCollector(Sink):
    """Keeps the genres that are present in the stream that ended last, strongest first."""

    def __init__(self, selection: Selection) -> None:
        self.genres: tuple[str, ...] = ()
        self._selection = selection

    def write(self, message: Message) -> None:
        if isinstance(message, End):
            self.genres = tuple(name.title() for name in end_verdict(message, self._selection).get("genre", ()))


def check_mutagen() -> None:
    """Raise OutputError if mutagen is not installed."""
    try:
        import mutagen  # noqa: F401
    except ImportError:
        raise OutputError("--write-tags needs the package mutagen: pip install 'streamtag[tags]'") from None


def write_genres(source: str, genres: Sequence[str], *, force: bool) -> str:
    """Write genres into the file, unless it has some and `force` is not given; return what was done, in one line.

    Raises OutputError if the source is no file that can be changed, or of a kind without tags.
    """
    from mutagen import MutagenError

    address = Address.of(source)
    if address.kind != "file":
        raise OutputError(f"{address.label}: no tags written: is not a file on this machine")
    label, path = address.label, Path(source)
    try:
        previous = _genres(_open(path, label))
        if not genres:
            return f"{label}: no tags written: no genre is present for long enough"
        if previous == list(genres):
            return f"{label}: has the genre {_joined(genres)} already"
        if previous and not force:
            return f"{label}: keeps its genre {_joined(previous)}; --force replaces it by {_joined(genres)}"
        is_shared = _replace_genres(path, label, genres)
    except MutagenError as error:
        raise OutputError(f"{label}: no tags written: {one_line(error)}") from None
    except OSError as error:
        raise cannot_write(path, error) from None
    replaced = f", in place of {_joined(previous)}" if previous else ""
    return f"{label}: wrote the genre {_joined(genres)}{replaced}" + (
        "; its other hard links keep the old tags" if is_shared else ""
    )


def _joined(genres: Sequence[str]) -> str:
    return one_line("; ".join(genres))


def _open(path: Path, label: str) -> Any:
    """Return a mutagen file with tags, which may be empty. Raises OutputError, MutagenError."""
    import mutagen
    from mutagen.id3 import ID3

    file: Any = mutagen.File(path)
    if file is not None and isinstance(file.tags, ID3):
        file = type(file)(path, translate=False)  # ID3 2.3 stays 2.3
    try:
        if file is not None and file.tags is None:
            file.add_tags()
    except (mutagen.MutagenError, NotImplementedError):
        file = None
    if file is None or file.tags is None:
        raise OutputError(f"{label}: no tags written: this kind of file holds none that can be written")
    return file


def _genre_key(tags: object) -> str:
    """Return the name of the genre in this kind of tags."""
    names = (kind.__name__ for kind in type(tags).__mro__)
    return next(GENRE_KEYS[name] for name in names if name in GENRE_KEYS)


def _genres(file: Any) -> list[str]:
    """Return the genres that a file has."""
    from mutagen.id3 import ID3

    tags = file.tags
    if isinstance(tags, ID3):
        return [genre for frame in (*tags.getall(ID3_GENRE), *tags.getall("TCO")) for genre in frame.genres]
    return [str(value) for value in tags.get(_genre_key(tags), ())]


def _set_genres(file: Any, genres: Sequence[str]) -> None:
    """Change the genres of an open file and save it; an ID3 tag keeps its version, but for 2.2, which becomes 2.3."""
    from mutagen.id3 import ID3, TCON, Encoding

    tags = file.tags
    if not isinstance(tags, ID3):
        tags[_genre_key(tags)] = list(genres)
        file.save()
        return
    is_old = (2,) <= tags.version < (2, 4)
    if tags.version[:2] == (2, 2):
        tags.update_to_v23()
    # 2.3 has no lists: a slash separates the values
    text = ["/".join(genres)] if is_old else list(genres)
    tags.setall(ID3_GENRE, [TCON(encoding=Encoding.UTF16 if is_old else Encoding.UTF8, text=text)])
    file.save(v2_version=3 if is_old else 4, v23_sep=None)


def _replace_genres(path: Path, label: str, genres: Sequence[str]) -> bool:
    """Replace the file by a copy with these genres, and return whether it has other hard links."""
    target = path.resolve()
    status = target.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(f"{label}: no tags written: is not a regular file")
    if not status.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise OutputError(f"{label}: no tags written: is read-only")
    part = target.with_name(f".streamtag-{secrets.token_hex(6)}{target.suffix}")
    try:
        shutil.copy2(target, part)  # with permissions and extended attributes; saving sets the time
        with suppress(OSError, AttributeError):  # only root may keep another's; not on Windows
            os.chown(part, status.st_uid, status.st_gid)
            part.chmod(stat.S_IMODE(status.st_mode))
        _set_genres(_open(part, label), genres)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return status.st_nlink > 1
