"""Producers over real sockets, with a fake scheduler behind them."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import pytest

from streamtag.protocol.messages import Event, Frame, Ready
from streamtag.server.config import IngestConfig
from tests.server.fake_scheduler import FakeScheduler
from tests.server.support import (
    HELLO,
    Connect,
    OpenSocket,
    Start,
    http_get,
    make_frame,
    read,
    read_all,
    read_counter,
    shake_hands,
    wait_until,
)


def test_a_producer_is_greeted_and_its_bytes_arrive_as_they_were_sent(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    client = connect(start_ingest(), "/ingest/Halle%202?rate=48000&format=f32le&channels=2")
    assert [read(client), read(client)] == [HELLO, Ready("Halle 2", 0)]
    pieces = [b"\1", bytes(range(256)) * 100, b"", b"\2\3\4", bytes(1 << 20)]
    for piece in pieces:
        client.send(piece)
    client.send([b"in ", b"three ", b"parts"])
    handle = scheduler.handles["Halle 2"]
    wait_until(lambda: handle.audio.endswith(b"parts"))
    assert bytes(handle.audio) == b"".join(pieces) + b"in three parts"
    assert (handle.format.rate, handle.format.encoding, handle.format.channels) == (48000, "f32le", 2)


def test_a_producer_gets_its_own_stream_filtered_and_subscribers_get_all(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest()
    one, other = connect(server, "/ingest/one?top=2"), connect(server, "/ingest/other")
    everything, single = connect(server), connect(server, "/streams/other")
    for client, greeting in ((one, 2), (other, 2), (everything, 1), (single, 1)):
        for _ in range(greeting):
            read(client)
    frames = [make_frame(0, "one"), make_frame(0, "other"), make_frame(1, "one")]
    scheduler.publish([*frames, Event("other", "tag 01", "on", 0.1)])
    filtered = [read(one), read(one)]
    assert [message.frame for message in filtered if isinstance(message, Frame)] == [0, 1]
    assert all(len(message.tags) == 2 for message in filtered if isinstance(message, Frame))
    assert read(other) == read(single) == frames[1]
    assert read(other) == read(single) == Event("other", "tag 01", "on", 0.1)
    assert [read(everything) for _ in range(3)] == frames
    assert server.producers == 2
    assert server.subscribers == 2


def test_the_end_of_a_stream_closes_its_connection_and_frees_the_name(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest()
    client = connect(server, "/ingest/mic")
    client.send(b"1234")
    client.send(['{"type"', ':"end"}'])
    wait_until(lambda: "mic" in scheduler.handles and scheduler.handles["mic"].is_finished)
    client.send(b"too late")
    scheduler.end("mic")
    assert [message.type for message in read_all(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
    assert not scheduler.handles["mic"].is_disconnected
    assert scheduler.handles["mic"].audio == b"1234"
    wait_until(lambda: server.producers == 0)
    assert read(connect(server, "/ingest/mic")).type == "hello"  # the name is free


@pytest.mark.parametrize("polite", [True, False])
def test_a_producer_that_disconnects_may_reconnect(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect, polite: bool
) -> None:
    server = start_ingest()
    client = connect(server, "/ingest/mic")
    client.send(b"1234")
    wait_until(lambda: "mic" in scheduler.handles and bool(scheduler.handles["mic"].audio))
    if polite:
        client.close()
    else:
        client.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: scheduler.handles["mic"].is_disconnected)
    assert not scheduler.handles["mic"].is_finished
    again = connect(server, "/ingest/mic?position=700")
    assert [read(again).type, read(again)] == ["hello", Ready("mic", 700)]


def test_a_name_in_use_is_refused_until_its_connection_is_stale(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest(IngestConfig(stale_after_s=0.4))
    old = connect(server, "/ingest/mic")
    old.send(b"1234")
    status, text, _ = shake_hands(connect, server, "/ingest/mic")
    assert (status, text) == (409, "mic: a producer of this name is connected")
    first = scheduler.handles["mic"]
    old.send(b"5678")
    wait_until(lambda: len(first.audio) == 8)
    time.sleep(0.5)  # as of one whose network has changed: it looks connected, and nothing comes
    connect(server, "/ingest/mic")
    assert first.is_disconnected
    assert len(scheduler.opened) == 2
    read_all(old)
    assert old.close_code == 1008
    assert "another connection" in (old.close_reason or "")
    assert read_counter(server, 'refused_connections_total{reason="name"}') == 1
    assert server.producers == 1


def test_without_room_or_a_scheduler_producers_and_states_are_told_when_to_retry(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    scheduler.stats = replace(scheduler.stats, capacity=1)
    server = start_ingest()
    client = connect(server, "/ingest/one")
    assert shake_hands(connect, server, "/ingest/two") == (503, "busy: no room", "4")
    assert shake_hands(connect, server, "/streams/new/state")[::2] == (503, "4")
    scheduler.end("one")
    read(client)
    assert read(connect(server, "/ingest/two")).type == "hello"
    server.detach()
    assert shake_hands(connect, server, "/ingest/mic") == (503, "busy: the server is starting or closing", "2")


def test_streams_from_one_address_are_limited(start_ingest: Start, scheduler: FakeScheduler, connect: Connect) -> None:
    server = start_ingest(IngestConfig(max_per_client=2, reconnect_grace_s=0.7))
    one = connect(server, "/ingest/one")
    connect(server, "/ingest/two")
    status, text, retry = shake_hands(connect, server, "/ingest/three")
    assert (status, retry) == (429, "2")
    assert "2 streams from your address" in text
    assert shake_hands(connect, server, "/streams/new/state")[0] == 429
    one.close()
    wait_until(lambda: scheduler.handles["one"].is_disconnected)
    assert shake_hands(connect, server, "/ingest/three")[0] == 429  # a stream that is waited for has its place
    one = connect(server, "/ingest/one")  # and may be continued
    assert shake_hands(connect, server, "/ingest/three")[0] == 429
    one.close()
    wait_until(lambda: http_get(server, "/ingest/three")[0].status == 426)
    connect(server, "/ingest/three")
    connect(server)  # subscribers are counted for themselves
    scheduler.end("two")
    wait_until(lambda: http_get(server, "/ingest/four")[0].status == 426)  # one that has ended has none


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/?top=0", "top must be at least 1, not 0"),
        ("/ingest/mic?rate=0", "rate must lie between"),
        ("/streams/%ff/state", "not UTF-8"),
        ("/streams/mic/state?top=1", "'top' is unknown here"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect, path: str, reason: str
) -> None:
    status, text, _ = shake_hands(connect, start_ingest(), path)
    assert status == 400
    assert reason in text
    assert "\n" not in text
    assert not scheduler.opened


def test_a_failed_handshake_opens_no_stream(
    start_ingest: Start, scheduler: FakeScheduler, open_socket: OpenSocket
) -> None:
    server = start_ingest()
    sock = open_socket(server)
    sock.sendall(
        b"GET /ingest/mic HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"  # no key
    )
    assert sock.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert not scheduler.opened
    assert server.producers == 0


def test_a_full_stream_is_not_read_until_it_has_room(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest(IngestConfig(idle_timeout_s=0.3, stale_after_s=0.1))
    client = connect(server, "/ingest/song")
    other = connect(server, "/ingest/other")
    wait_until(lambda: len(scheduler.handles) == 2)
    handle = scheduler.handles["song"]
    handle.room = False
    client.send(bytes(1000))
    wait_until(lambda: handle.pushes == 1)
    for number in range(20):
        client.send(bytes([number]) * 1000)
        other.send(b"12")
        time.sleep(0.05)  # longer than an idle one has
    assert handle.pushes == 1
    assert shake_hands(connect, server, "/ingest/song")[0] == 409  # it is not stale: it has to wait
    handle.room = True
    handle.on_writable()
    wait_until(lambda: len(handle.audio) == 21_000)
    assert bytes(handle.audio[1000::1000]) == bytes(range(20))
    assert not scheduler.handles["other"].is_disconnected


def test_a_closing_server_sends_producers_their_end(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest()
    client, other = connect(server, "/ingest/mic"), connect(server, "/ingest/without")
    server.detach()
    scheduler.end("mic")
    server.close()
    assert [message.type for message in read_all(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
    assert [message.type for message in read_all(other)] == ["hello", "ready"]
    assert other.close_code == 1001


def test_a_stream_that_ends_without_a_message_leaves_no_connection(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    client = connect(start_ingest(stall_timeout_s=0.2), "/ingest/mic")
    scheduler.handles["mic"].has_ended = True
    scheduler.handles["mic"].on_writable()
    read_all(client)
    assert client.close_code == 1000
