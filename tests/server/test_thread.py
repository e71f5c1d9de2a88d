"""Subscribers over real sockets, and the server's thread."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from contextlib import suppress

import pytest
from websockets.sync.client import ClientConnection

from streamtag.errors import OutputError
from streamtag.protocol.messages import MAX_HELLO_STREAMS, End, Error, Event, Frame, Gap, Hello
from streamtag.protocol.queues import EncodedMessage
from streamtag.server.app import WebSocketApp
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.thread import Inbox, ServerThread
from tests.server.fake_scheduler import FakeScheduler
from tests.server.support import (
    GREETING,
    HELLO,
    TIMEOUT_S,
    Connect,
    OpenSocket,
    Start,
    make_frame,
    read,
    read_all,
    shake_hands,
    wait_until,
)


def test_a_subscriber_gets_hello_and_then_every_message_as_it_is_on_the_wire(start: Start, connect: Connect) -> None:
    server = start()
    client = connect(server)
    assert client.recv(timeout=TIMEOUT_S) == GREETING.to_json()
    messages = [
        make_frame(0, latency_s=0.45),
        Event("mic", "tag 01", "on", 0.1),
        Gap("mic", 0.1, 0.3),
        Error("unplugged", "mic"),
        Error("a song is missing"),
        make_frame(1, "Müller – 東京.mp3"),
        End("mic", 0.5, 2, {"tag 01": 0.25}),
    ]
    for message in messages:
        server.publish(message)
    assert [client.recv(timeout=TIMEOUT_S) for _ in messages] == [message.to_json() for message in messages]


def test_a_late_subscriber_gets_a_gap_that_no_frame_has_passed_yet(start: Start, connect: Connect) -> None:
    def received(client: ClientConnection, read_counter: int) -> list[object]:
        got = [read(client) for _ in range(read_counter)]
        return [message.frame if isinstance(message, Frame) else message.type for message in got]

    server = start()
    early = connect(server)
    for message in (make_frame(3), Gap("mic", 1.0, 5.0)):  # the frames' centres are at 0.768 and 7.68 s
        server.publish(message)
    assert received(early, 3) == ["hello", 3, "gap"]
    late = connect(server)
    assert received(late, 3) == ["hello", 3, "gap"]
    server.publish(make_frame(30))
    assert received(early, 1) == received(late, 1) == [30]
    later = connect(server)
    server.publish(make_frame(31))
    assert received(later, 3) == ["hello", 30, 31]  # the gap is of the past


def test_a_subscriber_of_one_stream_gets_only_its_messages_once_it_exists(start: Start, connect: Connect) -> None:
    server = start()
    name = "Müller / 100 %?.mp3"
    one, all_of_them = connect(server, "/streams/M%C3%BCller%20%2F%20100%20%25%3F.mp3"), connect(server)
    assert read(one) == read(all_of_them) == GREETING
    for message in (make_frame(0), Event("mic", "tag 01", "on", 0.1), Error("for all"), make_frame(0, name)):
        server.publish(message)
    assert read(one) == Error("for all")
    frame = read(one)
    assert isinstance(frame, Frame)
    assert frame.stream == name
    assert [type(read(all_of_them)) for _ in range(4)] == [Frame, Event, Error, Frame]


def test_hello_names_the_running_streams_the_one_that_was_asked_for_first(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    def streams(path: str) -> tuple[str, ...] | None:
        hello = read(connect(server, path))
        assert isinstance(hello, Hello)
        return hello.streams

    server = start_ingest(IngestConfig(max_streams=200))
    early = connect(server)
    read(early)
    scheduler.publish([*(make_frame(0, name) for name in ("a", "b", "c")), End("b", 0.5, 1, {})])
    assert [read(early).type for _ in range(4)] == ["frame"] * 3 + ["end"]
    assert streams("/") == ("c", "a")
    assert streams("/streams/a") == ("a", "c")
    assert streams("/streams/b") == streams("/streams/d") == ("c", "a")  # "b" has ended, "d" does not exist
    scheduler.publish([make_frame(0, f"stream {number}") for number in range(100)])
    for _ in range(100):
        read(early)
    asked = streams("/streams/a")
    assert asked is not None
    assert (len(asked), asked[0], asked[1]) == (MAX_HELLO_STREAMS, "a", "stream 99")


def test_a_late_subscriber_gets_the_latest_frame_of_hundreds_of_streams(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest(IngestConfig(max_streams=600))
    everything = connect(server, "/?top=1")
    read(everything)
    scheduler.publish([make_frame(0, f"stream {number}") for number in range(600)])
    names = {message.stream for message in (read(everything) for _ in range(600)) if isinstance(message, Frame)}
    assert len(names) == 600
    late = connect(server, "/?top=1")
    read(late)
    assert {message.stream for message in (read(late) for _ in range(600)) if isinstance(message, Frame)} == names


def test_ended_streams_are_forgotten_the_oldest_first(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest()
    first = connect(server)
    read(first)
    for number in range(40):
        scheduler.publish([make_frame(0, f"stream {number}"), End(f"stream {number}", 0.2, 1, {})])
    scheduler.publish([make_frame(5, "stream 39"), make_frame(0, "last")])  # one of them came back
    while not (isinstance(message := read(first), Frame) and message.stream == "last"):
        pass
    late = connect(server)
    received = [read(late)]
    while not (isinstance(received[-1], Frame) and received[-1].stream == "last"):
        received.append(read(late))
    ended = [message.stream for message in received if isinstance(message, End)]
    assert ended == [f"stream {number}" for number in range(24, 39)]


@pytest.mark.parametrize("path", ["/nothing", "/streams/", "/health", "/ingest/mic"])
def test_subscribing_to_another_path_is_not_found(start: Start, connect: Connect, path: str) -> None:
    assert shake_hands(connect, start(), path)[0] == 404


def test_many_messages_at_once_overflow_no_queue(start: Start, connect: Connect) -> None:
    server = start(queue_length=4)
    client = connect(server, "/?top=1")  # 20 kB: the sockets' buffers hold it all
    read(client)
    for number in range(200):  # as from a file that is processed faster than it plays
        server.publish(make_frame(number))
    got = [read(client) for _ in range(200)]
    assert [(message.frame, message.dropped) for message in got if isinstance(message, Frame)] == [
        (number, 0) for number in range(200)
    ]


def test_closing_sends_what_waits_and_closes_with_going_away(connect: Connect) -> None:
    with ServerThread(ServerConfig(port=0), HELLO) as server:
        client = connect(server, max_queue=None)  # reads although nobody asks it to
        wait_until(lambda: server.subscribers == 1)
        for number in range(20):
            server.publish(make_frame(number))
        server.publish(End("mic", 5.0, 20, {}))
    got = read_all(client)
    assert len(got) == 22
    assert got[-1] == End("mic", 5.0, 20, {})
    assert client.close_code == 1001
    assert server.subscribers == 0
    server.publish(make_frame(21))  # ignored
    with pytest.raises(ConnectionRefusedError):
        connect(server)
    assert not [thread for thread in threading.enumerate() if thread.name == "streamtag-serve"]


def test_closing_waits_only_briefly_for_clients_that_do_not_read(open_socket: OpenSocket, connect: Connect) -> None:
    with ServerThread(ServerConfig(port=0, queue_length=1000, close_timeout_s=0.3), HELLO) as server:
        for _ in range(3):
            open_socket(server, "/", receive_buffer=4096)
        open_socket(server)  # and for one that never sends a request, not at all
        reader = connect(server, "/?top=1")
        wait_until(lambda: server.subscribers == 4)
        for number in range(500):
            server.publish(make_frame(number))
        leaving = time.monotonic()
    assert 1.5 < time.monotonic() - leaving < 8  # 2 s for them to read, 0.3 s for them to answer
    read_all(reader)
    assert reader.close_code == 1001


def test_an_address_that_cannot_be_served_is_a_one_line_error(start: Start) -> None:
    port = int(start().address.rstrip("/").rpartition(":")[2])
    with pytest.raises(
        OutputError, match=rf"^127\.0\.0\.1:{port}: cannot be served: Address already in use; port \d+ is free$"
    ):
        ServerThread(ServerConfig(port=port), HELLO).__enter__()
    with pytest.raises(OutputError, match=r"^no\.such\.invalid:8765: cannot be served: \S"):
        ServerThread(ServerConfig("no.such.invalid"), HELLO).__enter__()
    with pytest.raises(OutputError, match=r"cannot be served: not a host$"):
        ServerThread(ServerConfig("a" * 70), HELLO).__enter__()
    assert len([thread for thread in threading.enumerate() if thread.name == "streamtag-serve"]) == 1


@pytest.mark.parametrize("turns", range(5))
def test_no_connection_that_comes_while_the_server_closes_is_left_open(turns: int) -> None:
    async def serve() -> None:
        app = WebSocketApp(ServerConfig(port=0), HELLO, None, None)
        port = int((await app.open(None)).rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            for _ in range(turns):  # of the event loop, which accepts the connection in several
                await asyncio.sleep(0)
            await app.close()
            client.settimeout(TIMEOUT_S)
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""

    asyncio.run(serve())
    gc.collect()  # warns of an open socket, which is an error here


def test_a_message_without_json_is_left_out(start: Start, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    server = start()
    client = connect(server)
    assert read(client) == GREETING
    server.publish(Gap("mic", float("nan"), 0.5))
    server.publish(Error("half a pair: \ud83d"))  # as a recording that was tampered with may hold it
    server.publish(make_frame(1))
    assert read(client) == Error("half a pair: ?")
    assert read(client) == make_frame(1)
    assert "a message cannot be sent" in caplog.text
    caplog.clear()


def test_what_is_put_before_the_inbox_closes_is_delivered_and_nothing_after() -> None:
    async def receive_all(inbox: Inbox) -> list[str]:
        received: list[str] = []
        while messages := await inbox.get(2):
            received += [encoded.message.type for encoded in messages]
            if len(received) == 2:  # between the last look at the queue and the end: a message, then the close
                inbox.put([EncodedMessage(End("mic", 1.0, 1, {}))])
                inbox.close()
                inbox.put([EncodedMessage(Error("too late"))])
        return received

    inbox = Inbox(10, on_drop=lambda: None)
    inbox.put([EncodedMessage(Gap("mic", 0.1, 0.3)), EncodedMessage(Gap("mic", 0.5, 0.3))])
    assert asyncio.run(receive_all(inbox)) == ["gap", "gap", "end"]
