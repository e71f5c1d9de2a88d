"""Who may send sound, and what a producer says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from streamtag.audio.pcm import PcmFormat, parse_whole_number
from streamtag.errors import SpecError
from streamtag.protocol.message_filter import MessageFilter
from streamtag.protocol.messages import Hello
from streamtag.server.query import STREAMS, RequestTarget, decoded, thinning

INGEST = "/ingest/"
STATE = "/state"  # behind a stream's address
LONGEST_NAME = 64  # characters
MAX_INGEST_CHANNELS = 8
PARAMETERS = ("rate", "format", "channels", "position")


@dataclass(frozen=True)
class IngestWish:
    """What a producer wants to send, and to hear of its stream.

    position: its own count, per channel, of the sample that comes first; None: it does not count.
    """

    stream: str
    format: PcmFormat
    position: int | None
    message_filter: MessageFilter

    @classmethod
    def of(cls, target: RequestTarget, hello: Hello) -> Self:
        """Raises SpecError for what nobody can want."""
        parameters = target.parameters
        stream = checked_name(target.path.removeprefix(INGEST))
        format = PcmFormat.parse(
            parameters.get("rate", "16000"),
            parameters.get("format", "s16le"),
            parameters.get("channels", "1"),
            MAX_INGEST_CHANNELS,
        )
        position = parse_whole_number("position", parameters["position"]) if "position" in parameters else None
        return cls(stream, format, position, thinning(parameters, hello, PARAMETERS))


def is_ingest(target: RequestTarget) -> bool:
    return target.path.startswith(INGEST)


def is_state(target: RequestTarget) -> bool:
    """Whether it is about moving a stream."""
    return target.path.startswith(STREAMS) and target.path.endswith(STATE) and target.path.count("/") == 3


def named_by_state(target: RequestTarget) -> str:
    """The stream that is to be moved. Raises SpecError."""
    return checked_name(target.path.removeprefix(STREAMS).removesuffix(STATE))


def checked_name(part: str) -> str:
    """A name for a stream, from its part of a path. Raises SpecError for one that nobody could read."""
    name = decoded(part)
    if not 1 <= len(name) <= LONGEST_NAME:
        raise SpecError(f"a stream's name has 1 to {LONGEST_NAME} characters, not {len(name)}")
    if not name.isprintable() or "/" in name or name != name.strip():
        raise SpecError("a stream's name is made of characters that can be seen, without / and without outer spaces")
    return name
