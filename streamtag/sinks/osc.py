"""Open Sound Control: tags as numbers for lights, visuals and synthesisers, by UDP.

For each frame, and for what else happens:

    /streamtag/<tag>     probability                  one message a chosen tag; what OSC allows in no address is a _
    /streamtag/frame     stream, number, time         after the frame's tags: now the set is whole
    /streamtag/event     stream, tag, "on"|"off", time
    /streamtag/gap       stream, start, seconds lost
    /streamtag/error     stream ("" if none), text
    /streamtag/end       stream, seconds, frames

Numbers are 32-bit (f, i), which every receiver reads, times are stream seconds. Each message is a datagram of its
own: small receivers know no bundles, and a bundle of 50 tags would not fit into one packet.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from streamtag.errors import OutputError, SpecError
from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import Error, Event, Gap
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import SilentSink, Stream
from streamtag.text import printable

if TYPE_CHECKING:
    from pythonosc.osc_message_builder import ArgValue
    from pythonosc.udp_client import SimpleUDPClient

PREFIX = "/streamtag/"
RESERVED = ("frame", "event", "gap", "error", "end")
LARGEST = 2**31 - 1  # of a 32-bit integer


@dataclass(frozen=True)
class OscTarget:
    """Where a receiver listens. host: a name or an address; port: 1 to 65535."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if not self.host or not 0 < self.port < 65536:
            raise SpecError(f"OSC: {self}: give HOST:PORT, such as 127.0.0.1:9000")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """HOST:PORT, an IPv6 address in brackets. Raises SpecError."""
        found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([0-9]{1,5})", text.strip(), re.ASCII)
        if found is None:
            raise SpecError(f"OSC: {text!r}: give HOST:PORT, such as 127.0.0.1:9000; an IPv6 address in brackets")
        return cls(found[1] or found[2], int(found[3]))


class OscSink(SilentSink):
    """Sends what a stream gives to one receiver. A context manager.

    UDP promises nothing: what cannot be sent is counted in `failed`, and the stream goes on. The receiver's name is
    looked up once, so that no frame waits for that.
    """

    def __init__(self, target: OscTarget, selection: Selection) -> None:
        """Every chosen tag is sent: `top` does not apply, as a receiver's addresses are fixed.

        Raises OutputError if python-osc is not installed or the host is unknown.
        """
        try:
            from pythonosc.udp_client import SimpleUDPClient
        except ImportError:
            raise OutputError("OSC needs the package python-osc: pip install 'streamtag[osc]'") from None
        self.sent = self.failed = 0  # messages
        self._addresses = addresses(selection.names)
        self._chosen = np.asarray(selection.chosen)
        self._client: SimpleUDPClient = _client(target, SimpleUDPClient)

    def frame(self, stream: Stream, frame: TagFrame) -> None:
        for address, value in zip(self._addresses, frame.probs[self._chosen].tolist(), strict=True):
            self._send(address, value)
        self._tell("frame", stream.name, min(frame.index, LARGEST), float(frame.time))

    def event(self, event: Event) -> None:
        self._tell("event", event.stream, event.tag, event.state, float(event.time))

    def gap(self, gap: Gap) -> None:
        self._tell("gap", gap.stream, float(gap.start), float(gap.lost_s))

    def error(self, error: Error) -> None:
        self._tell("error", error.stream or "", error.message)

    def end(self, stream: Stream, timeline: Timeline) -> None:
        self._tell("end", stream.name, float(timeline.seconds), min(len(timeline), LARGEST))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def _tell(self, name: str, *values: str | float) -> None:
        clean = tuple(printable(value) if isinstance(value, str) else value for value in values)
        self._send(PREFIX + name, clean)

    def _send(self, address: str, values: ArgValue) -> None:
        try:
            self._client.send_message(address, values)
        except OSError:  # no route, a full buffer, a message that is too long
            self.failed += 1
        else:
            self.sent += 1


def addresses(tags: Iterable[str]) -> tuple[str, ...]:
    """One OSC address a tag, each unlike all others: `female vocal` is /streamtag/female_vocal."""
    taken = set(RESERVED)
    result = []
    for tag in tags:
        # the characters that OSC 1.0 keeps for itself, and all that is not ASCII
        plain = fresh = re.sub(r"[^!-~]|[#*,/?\[\]{}]", "_", tag) or "_"
        count = 1
        while fresh in taken:
            count += 1
            fresh = f"{plain}_{count}"
        taken.add(fresh)
        result.append(PREFIX + fresh)
    return tuple(result)


def _client(target: OscTarget, kind: type[SimpleUDPClient]) -> SimpleUDPClient:
    """Raises OutputError."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
        # of a name with both, such as localhost, the kind of address that receivers listen on
        family, _, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return kind(str(place[0]), target.port, allow_broadcast=True, family=family)
    except (OSError, UnicodeError, AttributeError) as error:  # AttributeError: python-osc got no socket at all
        reason = getattr(error, "strerror", None) or "not a host"
        raise OutputError(f"OSC: {target}: {str(reason).lower()}") from None
