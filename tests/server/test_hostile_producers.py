"""Whatever a producer sends, other connections are served, and memory stays bounded."""

from __future__ import annotations

import socket
import statistics
import struct
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from streamtag.protocol.messages import Frame
from streamtag.server.config import IngestConfig
from tests.server.fake_scheduler import FakeScheduler
from tests.server.support import (
    Connect,
    OpenSocket,
    Start,
    http_get,
    is_closed,
    make_frame,
    masked,
    read,
    read_all,
    read_counter,
    wait_until,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=300), path=st.sampled_from(["", "/", "/ingest/mic"]))
def test_any_bytes_leave_other_connections_alone(
    start_ingest: Start,
    connect: Connect,
    open_socket: OpenSocket,
    scheduler: FakeScheduler,
    data: bytes,
    path: str,
) -> None:
    scheduler.handles.clear()
    server = start_ingest()
    other, sock = connect(server, "/ingest/other"), open_socket(server, path)
    read(other)
    read(other)
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    assert is_closed(sock)
    scheduler.publish([make_frame(0, "other")])
    assert read(other) == make_frame(0, "other")
    assert server.producers <= 2
    other.close()
    server.close()


# binary, its first, last and middle fragments, pings, pongs
KINDS = st.sampled_from([0x82, 0x02, 0x80, 0x00, 0x89, 0x8A])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(st.tuples(KINDS, st.binary(max_size=125)), max_size=20), cuts=st.lists(st.integers(1, 40)))
def test_audio_in_any_fragments_arrives_whole_up_to_the_first_violation(
    start_ingest: Start,
    open_socket: OpenSocket,
    scheduler: FakeScheduler,
    messages: list[tuple[int, bytes]],
    cuts: list[int],
) -> None:
    scheduler.handles.clear()
    server = start_ingest()
    sock = open_socket(server, "/ingest/mic")
    expected, open_message = b"", False
    for kind, data in messages:
        if kind not in (0x89, 0x8A):
            if (kind & 0xF == 2) == open_message:  # begins while one is open, or goes on with none
                break
            expected += data
            open_message = not kind & 0x80
    sent = b"".join(masked(*message) for message in messages)
    with suppress(OSError):  # it may be closed in the middle
        for cut in cuts:
            sock.sendall(sent[:cut])
            sent = sent[cut:]
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
    assert is_closed(sock)
    wait_until(lambda: scheduler.handles["mic"].is_disconnected)
    assert bytes(scheduler.handles["mic"].audio) == expected
    server.close()


@pytest.mark.parametrize("what", [b"\x82\xff" + struct.pack("!Q", 1 << 62) + bytes(4), masked(0x82, b"12")])
def test_a_flood_of_producers_that_vanish_leaves_nothing_behind(
    start_ingest: Start, open_socket: OpenSocket, scheduler: FakeScheduler, what: bytes
) -> None:
    server = start_ingest(IngestConfig(max_per_client=100, reconnect_grace_s=0.01))
    for turn in range(5):
        sockets = [open_socket(server, f"/ingest/{turn}-{number}") for number in range(40)]
        for sock in sockets:  # no close frame, not even an end: reset
            sock.sendall(what)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        wait_until(lambda: server.producers == 0)
        wait_until(lambda: http_get(server, "/ingest/free")[0].status == 426)
        assert all(handle.is_disconnected for handle in scheduler.handles.values())
        for handle in scheduler.handles.values():
            handle.has_ended = True
    assert len(scheduler.opened) == 200


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("hello?", 1008),
        ('{"type":"stop"}', 1008),
        ("[" * 200, 1008),
        ("x" * 100_000, 1008),
        ("", 1008),
        (bytes((1 << 20) + 1), 1009),
    ],
)
def test_unexpected_text_or_a_long_message_ends_only_its_connection(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect, message: str | bytes, code: int
) -> None:
    server = start_ingest()
    client, other = connect(server, "/ingest/mic"), connect(server, "/ingest/other")
    client.send(b"1234")
    client.send(message)
    read_all(client)
    assert client.close_code == code
    wait_until(lambda: scheduler.handles["mic"].is_disconnected)
    assert scheduler.handles["mic"].audio == b"1234"
    read(other)
    read(other)
    scheduler.publish([make_frame(0, "other")])
    assert read(other) == make_frame(0, "other")


def test_a_producer_that_sends_no_audio_is_closed(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest(IngestConfig(idle_timeout_s=0.5))
    silent, busy = connect(server, "/ingest/silent"), connect(server, "/ingest/busy")
    began = time.monotonic()
    while time.monotonic() < began + 1.0:
        busy.send(b"12")
        with suppress(ConnectionClosed):  # at any moment
            silent.ping()  # is no audio
            silent.send(b"")  # neither
        if read_counter(server, "silent_producers_total"):
            break
    read_all(silent)
    assert (silent.close_code, silent.close_reason) == (1008, "no sound")
    wait_until(lambda: scheduler.handles["silent"].is_disconnected)
    assert not scheduler.handles["busy"].is_disconnected


def test_a_producer_that_never_reads_loses_messages_and_may_go_on_sending(
    start_ingest: Start, scheduler: FakeScheduler, open_socket: OpenSocket, connect: Connect
) -> None:
    server = start_ingest(queue_length=10, stall_timeout_s=0.3)
    sock = open_socket(server, "/ingest/deaf", receive_buffer=4096)
    reader = connect(server, "/streams/deaf?top=1")
    read(reader)
    for number in range(300):
        scheduler.publish([make_frame(number, "deaf")])
        frame = read(reader)
        assert isinstance(frame, Frame)
        assert frame.dropped == 0
    wait_until(lambda: read_counter(server, "messages_dropped_total") > 100)
    time.sleep(0.5)  # longer than a subscriber may stall
    before = len(scheduler.handles["deaf"].audio)
    sock.sendall(masked(0x82, b"abcd"))
    wait_until(lambda: len(scheduler.handles["deaf"].audio) == before + 4)
    assert not scheduler.handles["deaf"].is_disconnected
    sock.sendall(masked(0x89, bytes(125)))  # and its pings are answered
    for _ in range(20):  # but not without end
        sock.settimeout(5)
        try:
            sock.sendall(masked(0x89, bytes(125)) * 1000)
        except OSError:
            break
    wait_until(lambda: scheduler.handles["deaf"].is_disconnected)


def test_an_ended_producer_that_does_not_read_is_closed_soon(
    start_ingest: Start, scheduler: FakeScheduler, open_socket: OpenSocket
) -> None:
    server = start_ingest(queue_length=10, stall_timeout_s=0.3, close_timeout_s=0.3)
    sock = open_socket(server, "/ingest/deaf", receive_buffer=4096)
    for number in range(100):
        scheduler.publish([make_frame(number, "deaf")])
    sock.sendall(masked(0x81, b'{"type":"end"}'))
    wait_until(lambda: scheduler.handles["deaf"].is_finished)
    scheduler.end("deaf")
    wait_until(lambda: server.producers == 0)
    sock.settimeout(10)
    while sock.recv(65536):  # the connection is cut
        pass


def test_a_flood_of_tiny_messages_delays_no_other_client(
    start_ingest: Start, scheduler: FakeScheduler, open_socket: OpenSocket, connect: Connect
) -> None:
    server = start_ingest()
    sock = open_socket(server, "/ingest/tiny")
    sock.setblocking(False)
    reader = connect(server, "/streams/other?top=1")
    read(reader)

    def median_delay(flood: bytes) -> float:
        """Return the seconds from publishing a frame to reading it, the median of one second's frames."""
        delays: list[float] = []
        ends = time.monotonic() + 1.0
        while time.monotonic() < ends:
            try:
                sock.send(flood)
            except BlockingIOError:
                time.sleep(0.01)
            published = time.monotonic()
            scheduler.publish([make_frame(len(delays), "other")])
            assert read(reader).type == "frame"
            delays.append(time.monotonic() - published)
        return statistics.median(delays)

    alone = median_delay(b"")
    assert median_delay(masked(0x82, b"x") * 10_000) < 50 * alone  # a read of 4,700 messages takes 300 times as long
    assert scheduler.handles["tiny"].pushes < 50_000  # what two reads may bring; some 100,000 would have come
