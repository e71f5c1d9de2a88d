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

from streamtag.message import End, Event, Frame, Hello, Message, Ready
from streamtag.out.ingest import IngestSpec
from streamtag.out.websocket import Server
from tests.out.serving.fake_engine import FakeEngine

Start = Callable[..., Server]
Connect = Callable[..., ClientConnection]
Read = Callable[[ClientConnection], Message]
Rest = Callable[[ClientConnection], list[Message]]
MakeFrame = Callable[..., Frame]
Until = Callable[[Callable[[], bool]], None]
Ask = Callable[..., tuple[http.client.HTTPResponse, str]]
PlugIn = Callable[..., socket.socket]
Count = Callable[[Server, str], float]
END = '{"type":"end"}'


def _refused(connect: Connect, server: Server, path: str, **settings: object) -> tuple[int, str, str | None]:
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
    assert (feed.format.rate, feed.format.sample, feed.format.channels) == (48000, "f32le", 2)


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
    server = start_intake(IngestSpec(stale_s=0.4))
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
    engine.load = replace(engine.load, capacity=1)
    server = start_intake()
    client = connect(server, "/ingest/one")
    assert _refused(connect, server, "/ingest/two") == (503, "busy: no room", "4")
    engine.end("one")
    read(client)
    assert read(connect(server, "/ingest/two")).type == "hello"


def test_before_and_after_the_engine_nobody_is_let_in(start_intake: Start, connect: Connect) -> None:
    server = start_intake()
    server.hear_with(None)
    assert _refused(connect, server, "/ingest/mic") == (503, "busy: the server begins or ends", "2")


def test_there_are_as_many_from_one_address_as_there_may_be(
    start_intake: Start, engine: FakeEngine, connect: Connect, until: Until, ask: Ask
) -> None:
    server = start_intake(IngestSpec(max_per_client=2, away_s=0.7))
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
        ("/ingest/%0A", "can be seen"),
        ("/ingest/" + "%F0%9F%8E%B5" * 65, "1 to 64 characters"),
        ("/ingest/mic?speed=2", "'speed' is unknown here"),
        ("/streams/%ff/state", "no UTF-8"),
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
    server = start_intake(IngestSpec(idle_s=0.5))
    silent, busy = connect(server, "/ingest/silent"), connect(server, "/ingest/busy")
    began = time.monotonic()
    while time.monotonic() < began + 1.0:
        busy.send(b"12")
        silent.ping()  # is no sound
        silent.send(b"")  # neither
        if count(server, "silent_producers_total"):
            break
    rest(silent)
    assert (silent.close_code, silent.close_reason) == (1008, "no sound")
    until(lambda: engine.feeds["silent"].is_away)
    assert not engine.feeds["busy"].is_away


def test_where_there_is_no_room_nothing_is_read_until_there_is(
    start_intake: Start, engine: FakeEngine, connect: Connect, until: Until
) -> None:
    server = start_intake(IngestSpec(idle_s=0.3, stale_s=0.1))
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
    feed.woken()
    until(lambda: len(feed.heard) == 21_000)
    assert bytes(feed.heard[1000::1000]) == bytes(range(20))
    assert not engine.feeds["other"].is_away


def test_one_who_never_reads_loses_messages_and_is_heard_on(
    start_intake: Start, engine: FakeEngine, plug_in: PlugIn, connect: Connect, read: Read,
    make_frame: MakeFrame, until: Until, count: Count,
) -> None:  # fmt: skip
    server = start_intake(queue=10, stall_s=0.3)
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
    server = start_intake(queue=10, stall_s=0.3)
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


def test_when_the_server_ends_producers_get_their_end(
    start_intake: Start, engine: FakeEngine, connect: Connect, rest: Rest
) -> None:
    server = start_intake()
    client, other = connect(server, "/ingest/mic"), connect(server, "/ingest/without")
    server.hear_with(None)
    engine.end("mic")
    server.__exit__(None, None, None)
    assert [message.type for message in rest(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
    assert [message.type for message in rest(other)] == ["hello", "ready"]
    assert other.close_code == 1001


def test_an_engine_that_ends_a_stream_without_a_word_leaves_no_connection(
    start_intake: Start, engine: FakeEngine, connect: Connect, rest: Rest
) -> None:
    client = connect(start_intake(stall_s=0.2), "/ingest/mic")
    engine.feeds["mic"].ended = True
    engine.feeds["mic"].woken()
    rest(client)
    assert client.close_code == 1000


def test_late_subscribers_of_hundreds_of_streams_hear_of_them_all(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, make_frame: MakeFrame
) -> None:
    server = start_intake(IngestSpec(streams=600))
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
