"""Producers over real sockets, with a fake scheduler behind them."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from streamtag.protocol.messages import Event, Frame, Ready
from streamtag.server.config import IngestConfig
from tests.server.support import HELLO, LocalServer, Start, make_frame, read, read_all, wait_until


@pytest.fixture
def server(start: Start) -> LocalServer:
    return start(IngestConfig())


def test_a_producer_is_greeted_and_its_bytes_arrive_as_they_were_sent(server: LocalServer) -> None:
    client = server.connect("/ingest/Halle%202?rate=48000&format=f32le&channels=2")
    assert [read(client), read(client)] == [HELLO, Ready("Halle 2", 0)]
    pieces = [b"\1", bytes(range(256)) * 100, b"", b"\2\3\4", bytes(1 << 20)]
    for piece in pieces:
        client.send(piece)
    client.send([b"in ", b"three ", b"parts"])
    handle = server.handle("Halle 2")
    wait_until(lambda: handle.audio.endswith(b"parts"))
    assert bytes(handle.audio) == b"".join(pieces) + b"in three parts"
    assert (handle.format.rate, handle.format.encoding, handle.format.channels) == (48000, "f32le", 2)


def test_a_producer_gets_its_own_stream_filtered_and_subscribers_get_all(server: LocalServer) -> None:
    one, other = server.connect("/ingest/one?top=2"), server.connect("/ingest/other")
    everything, single = server.connect(), server.connect("/streams/other")
    for client in (one, one, other, other, everything, single):
        assert read(client).type in ("hello", "ready")
    frames = [make_frame(0, "one"), make_frame(0, "other"), make_frame(1, "one")]
    server.scheduler.publish([*frames, Event("other", "tag 01", "on", 0.1)])
    filtered = [read(one), read(one)]
    assert [message.frame for message in filtered if isinstance(message, Frame)] == [0, 1]
    assert all(len(message.tags) == 2 for message in filtered if isinstance(message, Frame))
    assert read(other) == read(single) == frames[1]
    assert read(other) == read(single) == Event("other", "tag 01", "on", 0.1)
    assert [read(everything) for _ in range(3)] == frames
    assert (server.producers, server.subscribers) == (2, 2)


def test_the_end_of_a_stream_closes_its_connection_and_frees_the_name(server: LocalServer) -> None:
    client = server.connect("/ingest/mic")
    client.send(b"1234")
    client.send(['{"type"', ':"end"}'])
    handle = server.handle("mic")
    wait_until(lambda: handle.is_finished)
    client.send(b"too late")
    server.scheduler.end("mic")
    assert [message.type for message in read_all(client)] == ["hello", "ready", "end"]
    assert (client.close_code, handle.is_disconnected, handle.audio) == (1000, False, bytearray(b"1234"))
    wait_until(lambda: server.producers == 0)
    assert read(server.connect("/ingest/mic")).type == "hello"  # the name is free


@pytest.mark.parametrize("polite", [True, False])
def test_a_producer_that_disconnects_may_reconnect(server: LocalServer, polite: bool) -> None:
    client = server.connect("/ingest/mic")
    handle = server.handle("mic")
    if polite:
        client.close()
    else:
        client.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: handle.is_disconnected)
    assert not handle.is_finished
    again = server.connect("/ingest/mic?position=700")
    assert [read(again).type, read(again)] == ["hello", Ready("mic", 700)]


def test_a_name_in_use_is_refused_until_its_connection_is_stale(start: Start) -> None:
    server = start(IngestConfig(stale_after_s=0.4))
    old = server.connect("/ingest/mic")
    old.send(b"1234")
    status, text, _ = server.shake_hands("/ingest/mic")
    assert (status, text) == (409, "mic: a producer of this name is connected")
    assert server.counter('refused_connections_total{reason="name"}') == 1
    first = server.handle("mic")
    old.send(b"5678")
    wait_until(lambda: len(first.audio) == 8)
    # as of one whose network has changed: it looks connected, and nothing comes
    wait_until(lambda: server.get("/ingest/mic")[0].status != 409)
    server.connect("/ingest/mic")
    assert first.is_disconnected
    read_all(old)
    assert old.close_code == 1008
    assert "another connection" in (old.close_reason or "")
    assert server.producers == 1


def test_without_room_or_a_scheduler_producers_and_states_are_told_when_to_retry(server: LocalServer) -> None:
    server.scheduler.stats = replace(server.scheduler.stats, capacity=1)
    client = server.connect("/ingest/one")
    assert server.shake_hands("/ingest/two") == (503, "busy: no room", "4")
    assert server.shake_hands("/streams/new/state")[::2] == (503, "4")
    server.scheduler.end("one")
    read(client)
    assert read(server.connect("/ingest/two")).type == "hello"
    server.detach()
    assert server.shake_hands("/ingest/mic") == (503, "busy: the server is starting or closing", "2")


def test_streams_from_one_address_are_limited(start: Start) -> None:
    server = start(IngestConfig(max_per_client=2, reconnect_grace_s=0.7))
    one = server.connect("/ingest/one")
    server.connect("/ingest/two")
    status, text, retry = server.shake_hands("/ingest/three")
    assert (status, retry) == (429, "2")
    assert "2 streams from your address" in text
    assert server.shake_hands("/streams/new/state")[0] == 429
    one.close()
    wait_until(lambda: server.scheduler.handles["one"].is_disconnected)
    assert server.shake_hands("/ingest/three")[0] == 429  # a stream that is waited for has its place
    one = server.connect("/ingest/one")  # and may be continued
    assert server.shake_hands("/ingest/three")[0] == 429
    one.close()
    wait_until(lambda: server.get("/ingest/three")[0].status == 426)
    server.connect("/ingest/three")
    server.connect()  # subscribers are counted for themselves
    server.scheduler.end("two")
    wait_until(lambda: server.get("/ingest/four")[0].status == 426)  # one that has ended has none


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/?top=0", "top must be at least 1, not 0"),
        ("/ingest/mic?rate=0", "rate must lie between"),
        ("/streams/%ff/state", "not UTF-8"),
        ("/streams/mic/state?top=1", "'top' is unknown here"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(server: LocalServer, path: str, reason: str) -> None:
    status, text, _ = server.shake_hands(path)
    assert status == 400
    assert reason in text
    assert "\n" not in text
    assert not server.scheduler.opened


def test_a_failed_handshake_opens_no_stream(server: LocalServer) -> None:
    sock = server.open_socket()
    request = b"GET /ingest/mic HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    sock.sendall(request)  # without a key
    assert sock.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert not server.scheduler.opened
    assert server.producers == 0


def test_a_full_stream_is_not_read_until_it_has_room(start: Start) -> None:
    server = start(IngestConfig(idle_timeout_s=0.5, stale_after_s=0.1))
    client, other = server.connect("/ingest/song"), server.connect("/ingest/other")
    handle = server.handle("song")
    handle.room = False
    client.send(bytes(1000))
    wait_until(lambda: handle.pushes == 1)
    for number in range(20):
        client.send(bytes([number]) * 1000)
    server.connect("/ingest/silent")
    while not server.counter("silent_producers_total"):  # as long as an idle one has
        other.send(b"12")
    assert handle.pushes == 1
    assert server.shake_hands("/ingest/song")[0] == 409  # it is not stale: it has to wait
    handle.room = True
    handle.on_writable()
    wait_until(lambda: len(handle.audio) == 21_000)
    assert bytes(handle.audio[1000::1000]) == bytes(range(20))
    assert not server.handle("other").is_disconnected


def test_a_closing_server_sends_producers_their_end(server: LocalServer) -> None:
    client, other = server.connect("/ingest/mic"), server.connect("/ingest/without")
    server.detach()
    server.scheduler.end("mic")
    server.close()
    assert [message.type for message in read_all(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
    assert [message.type for message in read_all(other)] == ["hello", "ready"]
    assert other.close_code == 1001


def test_a_stream_that_ends_without_a_message_leaves_no_connection(start: Start) -> None:
    server = start(IngestConfig(), stall_timeout_s=0.2)
    client, handle = server.connect("/ingest/mic"), server.handle("mic")
    handle.has_ended = True
    handle.on_writable()
    read_all(client)
    assert client.close_code == 1000
