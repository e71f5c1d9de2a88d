"""A streaming music tagger: audio in, the probabilities of 50 tags out four times per second.

    import streamtag
    tagger = streamtag.load()
    result = tagger.tag("song.mp3")
    session = streamtag.Session(tagger)

Importing this package imports neither torch nor FFmpeg; the first use of a name below does.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from streamtag.errors import StreamtagError

if TYPE_CHECKING:
    from streamtag.api import Result, Tagger, load
    from streamtag.audio.decoder import open_source
    from streamtag.inference.batch import SessionPool
    from streamtag.inference.events import EventDetector
    from streamtag.inference.frame import TagFrame
    from streamtag.inference.session import Session

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

_MODULES = {
    "EventDetector": "streamtag.inference.events",
    "Result": "streamtag.api",
    "Session": "streamtag.inference.session",
    "SessionPool": "streamtag.inference.batch",
    "TagFrame": "streamtag.inference.frame",
    "Tagger": "streamtag.api",
    "load": "streamtag.api",
    "open_source": "streamtag.audio.decoder",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if "torch" not in sys.modules:  # its threads should sleep, not spin, while they wait for one that has no core
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
