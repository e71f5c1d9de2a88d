"""Whatever comes where sound is taken, the others are heard, and nothing grows."""

from __future__ import annotations

import contextlib
import gc
import http.client
import socket
import struct
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection

from streamtag.protocol.messages import End, Frame, Message
from streamtag.server.config import IngestConfig
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import FakeEngine

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
Read = Callable[[ClientConnection], Message]
MakeFrame = Callable[..., Frame]
Until = Callable[[Callable[[], bool]], None]
Ask = Callable[..., tuple[http.client.HTTPResponse, str]]
PlugIn = Callable[..., socket.socket]


def _ended(plug: socket.socket) -> bool:
    """Reads to the end of the connection. False if there was none before the socket's time-out."""
    try:
        while plug.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def _masked(opcode: int, data: bytes) -> bytes:
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
    return bytes([opcode]) + length + bytes(4) + data


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=300), upgraded=st.booleans())
def test_any_bytes_leave_the_others_alone(
    start_intake: Start, connect: Connect, plug_in: PlugIn, read: Read, make_frame: MakeFrame, engine: FakeEngine,
    data: bytes, upgraded: bool,
) -> None:  # fmt: skip
    engine.feeds.clear()
    server = start_intake()
    other, plug = connect(server, "/ingest/other"), plug_in(server, "/ingest/mic" if upgraded else "")
    read(other)
    read(other)
    plug.sendall(data)
    plug.shutdown(socket.SHUT_WR)
    assert _ended(plug)
    engine.tell([make_frame(0, "other")])
    assert read(other) == make_frame(0, "other")
    assert server.producers <= 2
    other.close()
    server.__exit__(None, None, None)


KINDS = st.sampled_from([0x82, 0x02, 0x80, 0x00, 0x89, 0x8A])  # binary, begun, ended, gone on with, pings, pongs


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(st.tuples(KINDS, st.binary(max_size=125)), max_size=20), cuts=st.lists(st.integers(1, 40)))
def test_sound_in_any_parts_comes_whole_up_to_the_first_mistake(
    start_intake: Start, plug_in: PlugIn, engine: FakeEngine, until: Until,
    messages: list[tuple[int, bytes]], cuts: list[int],
) -> None:  # fmt: skip
    engine.feeds.clear()
    server = start_intake()
    plug = plug_in(server, "/ingest/mic")
    expected, open_message = b"", False
    for kind, data in messages:
        if kind < 0x88 and kind not in (0x89, 0x8A):
            if (kind & 0xF == 2) == open_message:  # begins while one is open, or goes on with none
                break
            expected += data
            open_message = not kind & 0x80
    sent = b"".join(_masked(*message) for message in messages)
    with contextlib.suppress(OSError):  # it may be closed in the middle
        for cut in cuts:
            plug.sendall(sent[:cut])
            sent = sent[cut:]
        plug.sendall(sent)
        plug.shutdown(socket.SHUT_WR)
    assert _ended(plug)
    until(lambda: engine.feeds["mic"].is_away)
    assert bytes(engine.feeds["mic"].heard) == expected
    server.__exit__(None, None, None)


@pytest.mark.parametrize("what", [b"", b"\x82\xff" + struct.pack("!Q", 1 << 62) + bytes(4), _masked(0x82, b"12")])
def test_a_flood_of_producers_that_vanish_leaves_nothing_behind(
    start_intake: Start, plug_in: PlugIn, engine: FakeEngine, until: Until, ask: Ask, what: bytes
) -> None:
    server = start_intake(IngestConfig(max_per_client=100, reconnect_grace_s=0.01))
    for turn in range(5):
        plugs = [plug_in(server, f"/ingest/{turn}-{number}") for number in range(40)]
        for plug in plugs:  # no close frame, not even an end: reset
            plug.sendall(what)
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            plug.close()
        until(lambda: server.producers == 0)
        until(lambda: ask(server, "/ingest/free")[0].status == 426)
        assert all(feed.is_away for feed in engine.feeds.values())
        for feed in engine.feeds.values():
            feed.has_ended = True
    assert len(engine.opened) == 200


def test_memory_stays_flat(
    start_intake: Start, connect: Connect, plug_in: PlugIn, read: Read, make_frame: MakeFrame, engine: FakeEngine
) -> None:
    """With producers that come and go under ever new names, and one that never reads."""
    server = start_intake(queue_length=20)
    plug_in(server, "/ingest/deaf", receive_buffer=4096)
    reader = connect(server, "/?top=1")
    read(reader)

    def hear(turns: range) -> int:
        for turn in turns:
            name = f"stream {turn}"
            plug = plug_in(server, f"/ingest/stream%20{turn}")
            plug.sendall(_masked(0x82, bytes(100)))
            engine.tell([make_frame(turn, name), make_frame(turn, "deaf"), End(name, 0.2, 1, {})])
            for _ in range(3):
                read(reader)
            engine.feeds[name].has_ended = True
            plug.close()
            engine.opened.clear()
            del engine.feeds[name]
        gc.collect()  # connections are cycles
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        hear(range(300))  # all bounds are reached
        before = hear(range(300, 350))
        after = hear(range(350, 700))
    finally:
        tracemalloc.stop()
    assert after - before < 250_000  # the frames alone would be a MB
