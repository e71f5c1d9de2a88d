"""Whatever a producer sends, other connections are served, and memory stays bounded."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from streamtag.protocol.messages import Frame
from streamtag.server.config import IngestConfig
from tests.server.support import LocalServer, Start, is_closed, make_frame, masked, read, read_all, wait_until

# binary, its first, last and middle fragments, pings, pongs
KINDS = st.sampled_from([0x82, 0x02, 0x80, 0x00, 0x89, 0x8A])
ON_ONE_SERVER = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def server(start: Start) -> LocalServer:
    return start(IngestConfig(max_per_client=1000))


@ON_ONE_SERVER
@given(data=st.binary(min_size=1, max_size=300), path=st.sampled_from(["", "/", "/ingest/mic"]))
def test_any_bytes_leave_other_connections_alone(server: LocalServer, data: bytes, path: str) -> None:
    other, sock = server.connect("/streams/other"), server.open_socket(path)
    read(other)
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    assert is_closed(sock)
    wait_until(lambda: server.producers == 0)
    server.scheduler.publish([make_frame(0, "other")])
    while read(other) != make_frame(0, "other"):
        pass
    other.close()


@ON_ONE_SERVER
@given(messages=st.lists(st.tuples(KINDS, st.binary(max_size=125)), max_size=20), cuts=st.lists(st.integers(1, 40)))
def test_audio_in_any_fragments_arrives_whole_up_to_the_first_violation(
    server: LocalServer, messages: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    name = str(len(server.scheduler.opened))
    sock = server.open_socket(f"/ingest/{name}")
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
    wait_until(lambda: server.handle(name).is_disconnected)
    assert bytes(server.handle(name).audio) == expected


@pytest.mark.parametrize("what", [b"\x82\xff" + struct.pack("!Q", 1 << 62) + bytes(4), masked(0x82, b"12")])
def test_a_flood_of_producers_that_vanish_leaves_nothing_behind(start: Start, what: bytes) -> None:
    server = start(IngestConfig(max_per_client=100, reconnect_grace_s=0.01))
    for turn in range(5):
        sockets = [server.open_socket(f"/ingest/{turn}-{number}") for number in range(40)]
        for sock in sockets:  # no close frame, not even an end: reset
            sock.sendall(what)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        wait_until(lambda: server.producers == 0)
        wait_until(lambda: server.get("/ingest/free")[0].status == 426)
        for handle in server.scheduler.handles.values():
            assert handle.is_disconnected
            handle.has_ended = True
    assert len(server.scheduler.opened) == 200


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
    server: LocalServer, message: str | bytes, code: int
) -> None:
    client, other = server.connect("/ingest/mic"), server.connect("/streams/other")
    client.send(b"1234")
    client.send(message)
    read_all(client)
    assert client.close_code == code
    handle = server.handle("mic")
    wait_until(lambda: handle.is_disconnected)
    assert handle.audio == b"1234"
    read(other)
    server.scheduler.publish([make_frame(0, "other")])
    assert read(other) == make_frame(0, "other")


def test_a_producer_that_sends_no_audio_is_closed(start: Start) -> None:
    server = start(IngestConfig(idle_timeout_s=0.5))
    silent, busy = server.connect("/ingest/silent"), server.connect("/ingest/busy")
    with suppress(ConnectionClosed):  # at any moment
        while not server.counter("silent_producers_total"):
            busy.send(b"12")
            silent.ping()  # is no audio
            silent.send(b"")  # neither
    read_all(silent)
    assert (silent.close_code, silent.close_reason) == (1008, "no sound")
    wait_until(lambda: server.handle("silent").is_disconnected)
    assert not server.handle("busy").is_disconnected


def test_a_producer_that_never_reads_loses_messages_and_may_go_on_sending(start: Start) -> None:
    server = start(IngestConfig(), queue_length=10, stall_timeout_s=0.3)
    sock = server.open_socket("/ingest/deaf", receive_buffer=4096)
    reader, handle = server.connect("/streams/deaf?top=1"), server.handle("deaf")
    read(reader)

    def publish(numbers: range) -> None:
        for number in numbers:
            server.scheduler.publish([make_frame(number, "deaf")])
            frame = read(reader)
            assert isinstance(frame, Frame)
            assert frame.dropped == 0

    publish(range(300))
    wait_until(lambda: server.counter("messages_dropped_total") > 100)
    server.open_socket("/streams/deaf", receive_buffer=4096)
    publish(range(300, 600))
    wait_until(lambda: server.counter("stalled_subscribers_total") == 1)  # the producer stalls for longer
    sock.sendall(masked(0x82, b"abcd"))
    wait_until(lambda: handle.audio == b"abcd")
    assert not handle.is_disconnected
    with suppress(OSError):  # its pings are answered, but not without end
        sock.settimeout(5)
        for _ in range(20):
            sock.sendall(masked(0x89, bytes(125)) * 1000)
    wait_until(lambda: handle.is_disconnected)


def test_an_ended_producer_that_does_not_read_is_closed_soon(start: Start) -> None:
    server = start(IngestConfig(), queue_length=10, stall_timeout_s=0.3, close_timeout_s=0.3)
    sock = server.open_socket("/ingest/deaf", receive_buffer=4096)
    for number in range(100):
        server.scheduler.publish([make_frame(number, "deaf")])
    sock.sendall(masked(0x81, b'{"type":"end"}'))
    wait_until(lambda: server.handle("deaf").is_finished)
    server.scheduler.end("deaf")
    wait_until(lambda: server.producers == 0)
    assert is_closed(sock)


def test_a_flood_of_tiny_messages_is_read_slowly_and_holds_up_no_other_client(server: LocalServer) -> None:
    sock, reader = server.open_socket("/ingest/tiny"), server.connect("/streams/other?top=1")
    sock.setblocking(False)
    read(reader)
    sent = 0
    for number in range(100):
        with suppress(BlockingIOError):
            sent += sock.send(masked(0x82, b"x") * 10_000)
        server.scheduler.publish([make_frame(number, "other")])
        assert read(reader).type == "frame"
    assert server.handle("tiny").pushes < sent / 7 / 10  # the rest waits in the kernel
