"""A streaming music tagger: sound goes in, the probabilities of 50 tags come out four times a second.

    import streamtag
    tagger = streamtag.load()
    result = tagger.tag("song.mp3")
    session = streamtag.Session(tagger)

Importing this package imports neither torch nor FFmpeg; the first use of a name does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from streamtag.errors import StreamtagError

if TYPE_CHECKING:
    from streamtag.app import Result, Tagger, load
    from streamtag.live.events import EventDetector
    from streamtag.live.pool import SessionPool
    from streamtag.live.session import Session, TagFrame
    from streamtag.live.source import open_source

__version__ = "0.1.0"

__all__ = [
    "EventDetector",
    "Result",
    "Session",
    "SessionPool",
    "StreamtagError",
    "TagFrame",
    "Tagger",
    "__version__",
    "load",
    "open_source",
]

_HOMES = {
    "EventDetector": "streamtag.live.events",
    "Result": "streamtag.app",
    "Session": "streamtag.live.session",
    "SessionPool": "streamtag.live.pool",
    "TagFrame": "streamtag.live.frame",
    "Tagger": "streamtag.app",
    "load": "streamtag.app",
    "open_source": "streamtag.live.source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
