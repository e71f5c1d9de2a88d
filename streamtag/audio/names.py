"""What streams and the files made from them are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamtag.audio.address import Address
from streamtag.text import unique


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
