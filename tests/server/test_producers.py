"""What producers get, over real sockets; the engine behind them hears nothing."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from streamtag.protocol.messages import Event, Frame, Hello, Message, Ready
from streamtag.server.config import IngestConfig
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import FakeEngine

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
Read = Callable[[ClientConnection], Message]
Rest = Callable[[ClientConnection], list[Message]]
MakeFrame = Callable[..., Frame]
Until = Callable[[Callable[[], bool]], None]
Ask = Callable[..., tuple[http.client.HTTPResponse, str]]
PlugIn = Callable[..., socket.socket]
Count = Callable[[ServerThread, str], float]


def _refused(connect: Connect, server: ServerThread, path: str, **settings: object) -> tuple[int, str, str | None]:
    with pytest.raises(InvalidStatus) as refused:
        connect(server, path, **settings)
    answer = refused.value.response
    return answer.status_code, answer.body.decode().rstrip("\n"), answer.headers.get("Retry-After")


def test_a_producer_is_greeted_and_its_bytes_come_as_they_were_sent(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, hello: Hello, until: Until
) -> None:
    client = connect(start_intake(), "/ingest/Halle%202?rate=48000&format=f32le&channels=2")
    assert [read(client), read(client)] == [hello, Ready("Halle 2", 0)]
    pieces = [b"\1", bytes(range(256)) * 100, b"", b"\2\3\4", bytes(1 << 20)]
    for piece in pieces:
        client.send(piece)
    client.send([b"in ", b"three ", b"parts"])
    feed = engine.feeds["Halle 2"]
    until(lambda: feed.heard.endswith(b"parts"))
    assert bytes(feed.heard) == b"".join(pieces) + b"in three parts"
    assert (feed.format.rate, feed.format.encoding, feed.format.channels) == (48000, "f32le", 2)


def test_each_hears_its_own_stream_thinned_as_it_wishes_and_subscribers_hear_all(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, make_frame: MakeFrame
) -> None:
    server = start_intake()
    one, other = connect(server, "/ingest/one?top=2"), connect(server, "/ingest/other")
    everything, single = connect(server), connect(server, "/streams/other")
    for client, greeting in ((one, 2), (other, 2), (everything, 1), (single, 1)):
        for _ in range(greeting):
            read(client)
    frames = [make_frame(0, "one"), make_frame(0, "other"), make_frame(1, "one")]
    engine.tell([*frames, Event("other", "tag 01", "on", 0.1)])
    thin = [read(one), read(one)]
    assert [message.frame for message in thin if isinstance(message, Frame)] == [0, 1]
    assert all(len(message.tags) == 2 for message in thin if isinstance(message, Frame))
    assert read(other) == read(single) == frames[1]
    assert read(other) == read(single) == Event("other", "tag 01", "on", 0.1)
    assert [read(everything) for _ in range(3)] == frames
    assert server.producers == 2
    assert server.subscribers == 2


def test_an_end_is_said_and_the_stream_s_own_end_closes_the_connection(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, rest: Rest, until: Until
) -> None:
    server = start_intake()
    client = connect(server, "/ingest/mic")
    client.send(b"1234")
    client.send(['{"type"', ':"end"}'])
    until(lambda: "mic" in engine.feeds and engine.feeds["mic"].end_said)
    client.send(b"too late")
    engine.end("mic")
    assert [message.type for message in rest(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
    assert not engine.feeds["mic"].is_away
    assert engine.feeds["mic"].heard == b"1234"
    until(lambda: server.producers == 0)
    assert read(connect(server, "/ingest/mic")).type == "hello"  # the name is free


@pytest.mark.parametrize("polite", [True, False])
def test_one_who_breaks_off_is_away_and_may_come_back(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, until: Until, polite: bool
) -> None:
    server = start_intake()
    client = connect(server, "/ingest/mic")
    client.send(b"1234")
    until(lambda: "mic" in engine.feeds and bool(engine.feeds["mic"].heard))
    if polite:
        client.close()
    else:
        client.socket.shutdown(socket.SHUT_RDWR)
    until(lambda: engine.feeds["mic"].is_away)
    assert not engine.feeds["mic"].end_said
    again = connect(server, "/ingest/mic?position=700")
    assert [read(again).type, read(again)] == ["hello", Ready("mic", 700)]


def test_a_name_that_is_in_use_is_refused_but_not_for_ever(
    start_intake: Start, engine: FakeEngine, connect: Connect, rest: Rest, until: Until, count: Count
) -> None:
    server = start_intake(IngestConfig(stale_after_s=0.4))
    old = connect(server, "/ingest/mic")
    old.send(b"1234")
    status, text, _ = _refused(connect, server, "/ingest/mic")
    assert (status, text) == (409, "mic: a producer of this name is connected")
    first = engine.feeds["mic"]
    old.send(b"5678")
    until(lambda: len(first.heard) == 8)
    time.sleep(0.5)  # as of one whose network has changed: it looks connected, and nothing comes
    connect(server, "/ingest/mic")
    assert first.is_away
    assert len(engine.opened) == 2
    rest(old)
    assert old.close_code == 1008
    assert "another connection" in (old.close_reason or "")
    assert count(server, 'refused_connections_total{reason="name"}') == 1
    assert server.producers == 1


def test_without_room_a_producer_is_told_when_to_come_again(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read
) -> None:
    engine.stats = replace(engine.stats, capacity=1)
    server = start_intake()
    client = connect(server, "/ingest/one")
    assert _refused(connect, server, "/ingest/two") == (503, "busy: no room", "4")
    engine.end("one")
    read(client)
    assert read(connect(server, "/ingest/two")).type == "hello"


def test_before_and_after_the_engine_nobody_is_let_in(start_intake: Start, connect: Connect) -> None:
    server = start_intake()
    server.detach()
    assert _refused(connect, server, "/ingest/mic") == (503, "busy: the server is starting or closing", "2")


def test_there_are_as_many_from_one_address_as_there_may_be(
    start_intake: Start, engine: FakeEngine, connect: Connect, until: Until, ask: Ask
) -> None:
    server = start_intake(IngestConfig(max_per_client=2, reconnect_grace_s=0.7))
    one = connect(server, "/ingest/one")
    connect(server, "/ingest/two")
    status, text, retry = _refused(connect, server, "/ingest/three")
    assert (status, retry) == (429, "2")
    assert "2 streams from your address" in text
    assert _refused(connect, server, "/streams/new/state")[0] == 429
    one.close()
    until(lambda: engine.feeds["one"].is_away)
    assert _refused(connect, server, "/ingest/three")[0] == 429  # a stream that is waited for has its place
    one = connect(server, "/ingest/one")  # and can be gone on with
    assert _refused(connect, server, "/ingest/three")[0] == 429
    one.close()
    until(lambda: ask(server, "/ingest/three")[0].status == 426)
    connect(server, "/ingest/three")
    connect(server)  # subscribers are counted for themselves
    engine.end("two")
    until(lambda: ask(server, "/ingest/four")[0].status == 426)  # one that has ended has none


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/ingest/mic?rate=0", "rate must lie between"),
        ("/ingest/mic?format=wav", "format must be s16le or f32le"),
        ("/ingest/a%2Fb", "without /"),
        ("/ingest/%0A", "printable"),
        ("/ingest/" + "%F0%9F%8E%B5" * 65, "1 to 64 characters"),
        ("/ingest/mic?speed=2", "'speed' is unknown here"),
        ("/streams/%ff/state", "not UTF-8"),
        ("/streams/mic/state?top=1", "'top' is unknown here"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(
    start_intake: Start, engine: FakeEngine, connect: Connect, path: str, reason: str
) -> None:
    status, text, _ = _refused(connect, start_intake(), path)
    assert status == 400
    assert reason in text
    assert "\n" not in text
    assert not engine.opened


def test_who_cannot_shake_hands_opens_no_stream(start_intake: Start, engine: FakeEngine, plug_in: PlugIn) -> None:
    server = start_intake()
    plug = plug_in(server)
    plug.sendall(
        b"GET /ingest/mic HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"  # no key
    )
    assert plug.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert not engine.opened
    assert server.producers == 0


def test_where_there_is_no_room_nothing_is_read_until_there_is(
    start_intake: Start, engine: FakeEngine, connect: Connect, until: Until
) -> None:
    server = start_intake(IngestConfig(idle_timeout_s=0.3, stale_after_s=0.1))
    client = connect(server, "/ingest/song")
    other = connect(server, "/ingest/other")
    until(lambda: len(engine.feeds) == 2)
    feed = engine.feeds["song"]
    feed.room = False
    client.send(bytes(1000))
    until(lambda: feed.pushes == 1)
    for number in range(20):
        client.send(bytes([number]) * 1000)
        other.send(b"12")
        time.sleep(0.05)  # longer than an idle one has
    assert feed.pushes == 1
    assert _refused(connect, server, "/ingest/song")[0] == 409  # it is not stale: it has to wait
    feed.room = True
    feed.on_writable()
    until(lambda: len(feed.heard) == 21_000)
    assert bytes(feed.heard[1000::1000]) == bytes(range(20))
    assert not engine.feeds["other"].is_away


def test_when_the_server_ends_producers_get_their_end(
    start_intake: Start, engine: FakeEngine, connect: Connect, rest: Rest
) -> None:
    server = start_intake()
    client, other = connect(server, "/ingest/mic"), connect(server, "/ingest/without")
    server.detach()
    engine.end("mic")
    server.__exit__(None, None, None)
    assert [message.type for message in rest(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
    assert [message.type for message in rest(other)] == ["hello", "ready"]
    assert other.close_code == 1001


def test_an_engine_that_ends_a_stream_without_a_word_leaves_no_connection(
    start_intake: Start, engine: FakeEngine, connect: Connect, rest: Rest
) -> None:
    client = connect(start_intake(stall_timeout_s=0.2), "/ingest/mic")
    engine.feeds["mic"].has_ended = True
    engine.feeds["mic"].on_writable()
    rest(client)
    assert client.close_code == 1000
