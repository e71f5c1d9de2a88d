"""What late subscribers hear of many streams, over real sockets; the engine behind them hears nothing."""

from __future__ import annotations

from collections.abc import Callable

from websockets.sync.client import ClientConnection

from streamtag.protocol.messages import End, Frame, Message
from streamtag.server.config import IngestConfig
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import FakeEngine

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
Read = Callable[[ClientConnection], Message]
MakeFrame = Callable[..., Frame]


def test_late_subscribers_of_hundreds_of_streams_hear_of_them_all(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, make_frame: MakeFrame
) -> None:
    server = start_intake(IngestConfig(max_streams=600))
    everything = connect(server, "/?top=1")
    read(everything)
    engine.tell([make_frame(0, f"stream {number}") for number in range(600)])
    names = {message.stream for message in (read(everything) for _ in range(600)) if isinstance(message, Frame)}
    assert len(names) == 600
    late = connect(server, "/?top=1")
    read(late)
    assert {message.stream for message in (read(late) for _ in range(600)) if isinstance(message, Frame)} == names


def test_ended_streams_are_forgotten_the_oldest_first(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, make_frame: MakeFrame
) -> None:
    server = start_intake()
    first = connect(server)
    read(first)
    for number in range(40):
        engine.tell([make_frame(0, f"stream {number}"), End(f"stream {number}", 0.2, 1, {})])
    engine.tell([make_frame(5, "stream 39"), make_frame(0, "last")])  # one of them came back
    while not (isinstance(message := read(first), Frame) and message.stream == "last"):
        pass
    late = connect(server)
    told = [read(late)]
    while not (isinstance(told[-1], Frame) and told[-1].stream == "last"):
        told.append(read(late))
    ended = [message.stream for message in told if isinstance(message, End)]
    assert ended == [f"stream {number}" for number in range(24, 39)]
