"""Subscribers over real sockets, and the server's thread."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from streamtag.errors import OutputError
from streamtag.protocol.messages import MAX_HELLO_STREAMS, End, Error, Event, Frame, Gap, Hello
from streamtag.protocol.queues import EncodedMessage
from streamtag.server.app import WebSocketApp
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.thread import Inbox, ServerThread
from tests.server.support import GREETING, HELLO, TIMEOUT_S, LocalServer, Start, make_frame, read, read_all, wait_until


def test_a_subscriber_gets_hello_and_then_every_message_as_it_is_on_the_wire(server: LocalServer) -> None:
    client = server.connect()
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


def test_a_late_subscriber_gets_a_gap_that_no_frame_has_passed_yet(server: LocalServer) -> None:
    def received(client: ClientConnection, count: int) -> list[object]:
        got = [read(client) for _ in range(count)]
        return [message.frame if isinstance(message, Frame) else message.type for message in got]

    early = server.connect()
    for message in (make_frame(3), Gap("mic", 1.0, 5.0)):  # the frames' centres are at 0.768 and 7.68 s
        server.publish(message)
    assert received(early, 3) == received(server.connect(), 3) == ["hello", 3, "gap"]
    server.publish(make_frame(30))
    assert received(early, 1) == [30]
    assert received(server.connect(), 2) == ["hello", 30]  # the gap is of the past


def test_a_subscriber_of_one_stream_gets_only_its_messages_once_it_exists(server: LocalServer) -> None:
    name = "Müller / 100 %?.mp3"
    one, all_of_them = server.connect("/streams/M%C3%BCller%20%2F%20100%20%25%3F.mp3"), server.connect()
    assert read(one) == read(all_of_them) == GREETING
    for message in (make_frame(0), Event("mic", "tag 01", "on", 0.1), Error("for all"), make_frame(0, name)):
        server.publish(message)
    assert read(one) == Error("for all")
    frame = read(one)
    assert isinstance(frame, Frame)
    assert frame.stream == name
    assert [type(read(all_of_them)) for _ in range(4)] == [Frame, Event, Error, Frame]


def test_hello_names_the_running_streams_the_one_that_was_asked_for_first(start: Start) -> None:
    def streams(path: str) -> tuple[str, ...] | None:
        hello = read(server.connect(path))
        assert isinstance(hello, Hello)
        return hello.streams

    server = start(IngestConfig(max_streams=200))
    early = server.connect()
    read(early)
    server.scheduler.publish([*(make_frame(0, name) for name in ("a", "b", "c")), End("b", 0.5, 1, {})])
    assert [read(early).type for _ in range(4)] == ["frame"] * 3 + ["end"]
    assert streams("/") == ("c", "a")
    assert streams("/streams/a") == ("a", "c")
    assert streams("/streams/b") == streams("/streams/d") == ("c", "a")  # "b" has ended, "d" does not exist
    server.scheduler.publish([make_frame(0, f"stream {number}") for number in range(100)])
    for _ in range(100):
        read(early)
    asked = streams("/streams/a")
    assert asked is not None
    assert (len(asked), asked[0], asked[1]) == (MAX_HELLO_STREAMS, "a", "stream 99")


def test_a_late_subscriber_gets_the_latest_frame_of_hundreds_of_streams(start: Start) -> None:
    server = start(IngestConfig(max_streams=600))
    everything = server.connect("/?top=1")
    read(everything)
    server.scheduler.publish([make_frame(0, f"stream {number}") for number in range(600)])
    names = {message.stream for message in (read(everything) for _ in range(600)) if isinstance(message, Frame)}
    assert len(names) == 600
    late = server.connect("/?top=1")
    read(late)
    assert {message.stream for message in (read(late) for _ in range(600)) if isinstance(message, Frame)} == names


def test_ended_streams_are_forgotten_the_oldest_first(server: LocalServer) -> None:
    first = server.connect()
    read(first)
    for number in range(40):
        server.scheduler.publish([make_frame(0, f"stream {number}"), End(f"stream {number}", 0.2, 1, {})])
    server.scheduler.publish([make_frame(5, "stream 39"), make_frame(0, "last")])  # one of them came back
    while not (isinstance(message := read(first), Frame) and message.stream == "last"):
        pass
    late = server.connect()
    received = [read(late)]
    while not (isinstance(received[-1], Frame) and received[-1].stream == "last"):
        received.append(read(late))
    ended = [message.stream for message in received if isinstance(message, End)]
    assert ended == [f"stream {number}" for number in range(24, 39)]


@pytest.mark.parametrize("path", ["/nothing", "/streams/", "/health", "/ingest/mic", "/api/history"])
def test_subscribing_to_another_path_is_not_found(start: Start, tmp_path: Path, path: str) -> None:
    assert start(history=tmp_path / "history.db").shake_hands(path)[0] == 404


def test_many_messages_at_once_overflow_no_queue(start: Start) -> None:
    server = start(queue_length=4)
    client = server.connect("/?tags=tag+01")  # 20 kB: the sockets' buffers hold it all
    read(client)
    frames = [Frame("mic", number, 0.5 * number, 0.5 * number + 1, {"tag 01": 0.5}) for number in range(200)]
    for frame in frames:  # as from a file that is processed faster than it plays
        server.publish(frame)
    assert [read(client) for _ in frames] == frames


def test_closing_sends_what_waits_and_closes_with_going_away(server: LocalServer) -> None:
    client = server.connect(max_queue=None)  # reads although nobody asks it to
    wait_until(lambda: server.subscribers == 1)
    messages = [*map(make_frame, range(20)), End("mic", 5.0, 20, {})]
    for message in messages:
        server.publish(message)
    server.close()
    assert [message.to_json() for message in read_all(client)] == [each.to_json() for each in (GREETING, *messages)]
    assert client.close_code == 1001
    assert server.subscribers == 0
    server.publish(make_frame(21))  # ignored
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    assert not [thread for thread in threading.enumerate() if thread.name == "streamtag-serve"]


def test_closing_waits_only_briefly_for_clients_that_do_not_read(start: Start) -> None:
    server = start(queue_length=1000, close_timeout_s=0.3)
    for _ in range(3):
        server.open_socket("/", receive_buffer=4096)
    server.open_socket()  # and for one that never sends a request, not at all
    reader = server.connect("/?top=1")
    wait_until(lambda: server.subscribers == 4)
    for number in range(500):
        server.publish(make_frame(number))
    server.close()
    read_all(reader)
    assert reader.close_code == 1001


def test_an_address_that_cannot_be_served_is_a_one_line_error(server: LocalServer) -> None:
    port = server.port
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


def test_a_message_without_json_is_left_out(server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    client = server.connect()
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
