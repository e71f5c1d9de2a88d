"""Open Sound Control: tags as numbers for lights, visuals and synthesisers, by UDP.

    /streamtag/<tag>     probability                  one message per selected tag and frame; characters that OSC
                                                      forbids in addresses become _
    /streamtag/concept/<name>     probability         the same per selected concept
    /streamtag/frame     stream, number, time         after the tags and concepts of each frame
    /streamtag/event     stream, concept, "on"|"off", time
    /streamtag/gap       stream, start, seconds lost
    /streamtag/error     stream ("" if none), text
    /streamtag/end       stream, seconds, frames

Where there are several streams, each has tags and concepts of its own: /streamtag/<stream>/<tag> and
/streamtag/<stream>/concept/<name>. The other messages name the stream.

Numbers are 32-bit (f, i), which every receiver reads; times are stream seconds. Each message is a separate datagram:
small receivers do not support bundles, and a bundle of 50 tags would not fit into one packet.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from streamtag.audio.source import Closing
from streamtag.errors import OutputError, SpecError
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink
from streamtag.text import join_address, printable, unique

if TYPE_CHECKING:
    from pythonosc.osc_message_builder import ArgValue
    from pythonosc.udp_client import SimpleUDPClient

PREFIX, CONCEPTS = "/streamtag/", "concept/"
RESERVED = ("frame", "event", "gap", "error", "end")
MAX_INT = 2**31 - 1


@dataclass(frozen=True)
class OscTarget:
    """The address of a receiver. host: a name or an address; port: 1 to 65535."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if not self.host or not 0 < self.port < 65536:
            raise SpecError(f"OSC: {self}: give HOST:PORT, such as 127.0.0.1:9000")

    def __str__(self) -> str:
        return join_address(self.host, self.port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse HOST:PORT; an IPv6 address is in brackets. Raises SpecError."""
        found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([0-9]{1,5})", text.strip(), re.ASCII)
        if found is None:
            raise SpecError(f"OSC: {text!r}: give HOST:PORT, such as 127.0.0.1:9000; an IPv6 address in brackets")
        return cls(found[1] or found[2], int(found[3]))


class OscSink(Closing, Sink):
    """Sends a stream's messages to one receiver.

    UDP guarantees nothing: what cannot be sent is counted in `failed`, and the stream goes on. The receiver's name is
    resolved once, so that no frame waits for it.
    """

    def __init__(self, target: OscTarget, selection: Selection, streams: Sequence[str] = ()) -> None:
        """Every selected tag and concept is sent: `top` does not apply, as a receiver's addresses are fixed.

        streams: their names, if there are several.
        Raises OutputError if python-osc is not installed or the host is unknown.
        """
        try:
            from pythonosc.udp_client import SimpleUDPClient
        except ImportError:
            raise OutputError("OSC needs the package python-osc: pip install 'streamtag[osc]'") from None
        self.sent = self.failed = 0  # messages
        tags, concepts = selection.sent_tags, [concept.name for concept in selection.sent_concepts]
        self._tags = dict(zip(tags, addresses(tags, ""), strict=True))
        self._concepts = dict(zip(concepts, addresses(concepts, CONCEPTS), strict=True))
        self._prefixes = {name: f"{address}/" for name, address in zip(streams, addresses(streams), strict=True)}
        self._client: SimpleUDPClient = _client(target, SimpleUDPClient)

    def write(self, message: Message) -> None:
        match message:
            case Frame(stream, number, start, end, tags):
                prefix = self._prefixes.get(stream, PREFIX)
                for tag, name in self._tags.items():
                    self._send(prefix + name, tags[tag])
                for concept, name in self._concepts.items():
                    self._send(prefix + name, message.concepts[concept])
                self._send_values("frame", stream, min(number, MAX_INT), float((start + end) / 2))
            case Event(stream, tag, state, time):
                self._send_values("event", stream, tag, state, float(time))
            case Gap(stream, start, lost_s):
                self._send_values("gap", stream, float(start), float(lost_s))
            case Error(text, failed_stream):
                self._send_values("error", failed_stream or "", text)
            case End(stream, seconds, frames):
                self._send_values("end", stream, float(seconds), min(frames, MAX_INT))

    def close(self) -> None:
        self._client.close()

    def _send_values(self, name: str, *values: str | float) -> None:
        self._send(PREFIX + name, tuple(printable(value) if isinstance(value, str) else value for value in values))

    def _send(self, address: str, values: ArgValue) -> None:
        try:
            self._client.send_message(address, values)
        except OSError:  # no route, a full buffer, a message that is too long
            self.failed += 1
        else:
            self.sent += 1


def addresses(tags: Iterable[str], prefix: str = PREFIX) -> tuple[str, ...]:
    """Return a distinct OSC address for each tag: `female vocal` becomes /streamtag/female_vocal."""
    # OSC 1.0 reserves these characters, and addresses are ASCII
    names = [re.sub(r"[^!-~]|[#*,/?\[\]{}]", "_", tag) or "_" for tag in tags]
    return tuple(prefix + name for name in unique([*RESERVED, *names], "{}_{}")[len(RESERVED) :])


def _client(target: OscTarget, kind: type[SimpleUDPClient]) -> SimpleUDPClient:
    """Return a client for the target. Raises OutputError."""
    try:
        candidates = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
        # receivers listen on IPv4 where a name, such as localhost, has both kinds of address
        family, _, _, _, address = min(candidates, key=lambda entry: entry[0] != socket.AF_INET)
        return kind(str(address[0]), target.port, allow_broadcast=True, family=family)
    except (OSError, UnicodeError, AttributeError) as error:  # AttributeError: python-osc got no socket at all
        reason = getattr(error, "strerror", None) or "not a host"
        raise OutputError(f"OSC: {target}: {str(reason).lower()}") from None
