"""Producers that are rude, silent, deaf or in a hurry harm nobody else; the engine behind them hears nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from streamtag.protocol.messages import Frame, Message
from streamtag.server.config import IngestConfig
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import FakeEngine

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
Read = Callable[[ClientConnection], Message]
Rest = Callable[[ClientConnection], list[Message]]
MakeFrame = Callable[..., Frame]
Until = Callable[[Callable[[], bool]], None]
PlugIn = Callable[..., socket.socket]
Count = Callable[[ServerThread, str], float]
END = '{"type":"end"}'


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("hello?", 1008),
        ('{"type":"stop"}', 1008),
        ("[" * 200, 1008),
        ('"end"', 1008),
        ("x" * 100_000, 1008),
        ("", 1008),
        (bytes((1 << 20) + 1), 1009),
    ],
)
def test_other_words_and_messages_too_long_end_the_connection_and_nothing_else(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, rest: Rest, until: Until,
    make_frame: MakeFrame, message: str | bytes, code: int,
) -> None:  # fmt: skip
    server = start_intake()
    client, other = connect(server, "/ingest/mic"), connect(server, "/ingest/other")
    client.send(b"1234")
    client.send(message)
    rest(client)
    assert client.close_code == code
    until(lambda: engine.feeds["mic"].is_away)
    assert engine.feeds["mic"].heard == b"1234"
    read(other)
    read(other)
    engine.tell([make_frame(0, "other")])
    assert read(other) == make_frame(0, "other")


def test_one_who_sends_no_sound_is_closed(
    start_intake: Start, engine: FakeEngine, connect: Connect, rest: Rest, until: Until, count: Count
) -> None:
    server = start_intake(IngestConfig(idle_timeout_s=0.5))
    silent, busy = connect(server, "/ingest/silent"), connect(server, "/ingest/busy")
    began = time.monotonic()
    while time.monotonic() < began + 1.0:
        busy.send(b"12")
        with suppress(ConnectionClosed):  # at any moment
            silent.ping()  # is no sound
            silent.send(b"")  # neither
        if count(server, "silent_producers_total"):
            break
    rest(silent)
    assert (silent.close_code, silent.close_reason) == (1008, "no sound")
    until(lambda: engine.feeds["silent"].is_away)
    assert not engine.feeds["busy"].is_away


def test_one_who_never_reads_loses_messages_and_is_heard_on(
    start_intake: Start, engine: FakeEngine, plug_in: PlugIn, connect: Connect, read: Read,
    make_frame: MakeFrame, until: Until, count: Count,
) -> None:  # fmt: skip
    server = start_intake(queue_length=10, stall_timeout_s=0.3)
    plug = plug_in(server, "/ingest/deaf", receive_buffer=4096)
    reader = connect(server, "/streams/deaf?top=1")
    read(reader)
    for number in range(300):
        engine.tell([make_frame(number, "deaf")])
        frame = read(reader)
        assert isinstance(frame, Frame)
        assert frame.dropped == 0
    until(lambda: count(server, "messages_dropped_total") > 100)
    time.sleep(0.5)  # longer than a subscriber may stall
    before = len(engine.feeds["deaf"].heard)
    plug.sendall(b"\x82\x84\0\0\0\0" + b"abcd")
    until(lambda: len(engine.feeds["deaf"].heard) == before + 4)
    assert not engine.feeds["deaf"].is_away
    plug.sendall(b"\x89\xfd\0\0\0\0" + bytes(125))  # and its pings are answered
    for _ in range(20):  # but not without end
        plug.settimeout(5)
        try:
            plug.sendall((b"\x89\xfd\0\0\0\0" + bytes(125)) * 1000)
        except OSError:
            break
    until(lambda: engine.feeds["deaf"].is_away)


def test_a_slow_producer_that_has_ended_is_not_waited_for_long(
    start_intake: Start, engine: FakeEngine, plug_in: PlugIn, make_frame: MakeFrame, until: Until
) -> None:
    server = start_intake(queue_length=10, stall_timeout_s=0.3)
    plug = plug_in(server, "/ingest/deaf", receive_buffer=4096)
    for number in range(100):
        engine.tell([make_frame(number, "deaf")])
    text = END.encode()
    plug.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
    until(lambda: engine.feeds["deaf"].end_said)
    engine.end("deaf")
    until(lambda: server.producers == 0)
    plug.settimeout(10)
    while plug.recv(65536):  # the connection is cut
        pass


def test_who_sends_a_flood_of_crumbs_delays_nobody(
    start_intake: Start, engine: FakeEngine, plug_in: PlugIn, connect: Connect, read: Read, make_frame: MakeFrame
) -> None:
    server = start_intake()
    crumb = b"\x82\x81\0\0\0\0x"
    plug = plug_in(server, "/ingest/crumbs")
    plug.setblocking(False)
    reader = connect(server, "/streams/other?top=1")
    read(reader)
    ends, worst, sent, number = time.monotonic() + 2.0, 0.0, 0, 0
    while time.monotonic() < ends:
        try:
            sent += plug.send(crumb * 10_000)
        except BlockingIOError:
            time.sleep(0.01)
        told = time.monotonic()
        engine.tell([make_frame(number, "other")])
        assert read(reader).type == "frame"
        worst, number = max(worst, time.monotonic() - told), number + 1
    assert engine.feeds["crumbs"].pushes < 50_000  # what two reads may bring; some 200,000 would have come
    assert worst < 1.0
