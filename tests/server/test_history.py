"""A subscriber that comes late gets the past of every running stream, over real sockets, and pays for it alone."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from streamtag.protocol.messages import End, Event, Frame, Gap, Hello, History, Message
from streamtag.server.config import IngestConfig
from streamtag.server.history import KEPT_S
from tests.server.fake_scheduler import FakeScheduler
from tests.server.support import (
    HELLO,
    TAGS,
    Connect,
    OpenSocket,
    Start,
    http_get,
    is_closed,
    make_frame,
    read,
    read_counter,
    shake_hands,
    wait_until,
)


def test_a_late_subscriber_gets_what_an_early_one_has_got_and_nothing_twice(start: Start, connect: Connect) -> None:
    server = start()
    early = connect(server)
    sent: list[Message] = [make_frame(number) for number in range(100)]
    sent[40:40] = [Event("mic", "tag 01", "on", 10.0), Gap("mic", 9.9, 0.1)]
    for message in sent:
        server.publish(message)
    got = [read(early) for _ in range(1 + len(sent))][1:]
    late = connect(server, "/streams/mic?history=120")
    hello, history, latest = (read(late) for _ in range(3))
    assert isinstance(hello, Hello)
    assert isinstance(history, History)
    frames = [message for message in got if isinstance(message, Frame)]
    assert history.times == tuple(round((frame.start + frame.end) / 2, 3) for frame in frames[:-1])
    assert history.tags == {tag: tuple(frame.tags[tag] for frame in frames[:-1]) for tag in TAGS}
    assert (history.present, history.events, history.gaps) == (("tag 01",), (sent[40],), (sent[41],))
    assert latest == frames[-1]
    for number in range(100, 103):
        server.publish(make_frame(number))
    following = [read(late) for _ in range(3)]
    assert [message.frame for message in following if isinstance(message, Frame)] == [100, 101, 102]
    plain = connect(server, "/streams/mic")  # without the parameter all is as before
    assert [read(plain).type for _ in range(2)] == ["hello", "frame"]


def test_it_joins_the_live_frames_without_a_hole_while_these_are_published(start: Start, connect: Connect) -> None:
    server, is_over = start(queue_length=5000), threading.Event()

    def publish() -> None:
        for number in itertools.count():
            server.publish(make_frame(number))
            if is_over.wait(0.002):
                return

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        for _ in range(10):
            late = connect(server, "/?history=300&tags=tag+03")
            messages = [read(late) for _ in range(2)]
            while not isinstance(messages[-1], Frame):
                messages.append(read(late))
            frames = [messages.pop(), *(read(late) for _ in range(5))]
            numbers = [frame.frame for frame in frames if isinstance(frame, Frame)]
            assert numbers == list(range(numbers[0], numbers[0] + 6))
            if isinstance(history := messages[-1], History):
                before = [make_frame(number) for number in range(numbers[0] - len(history.times), numbers[0])]
                assert history.tags == {"tag 03": tuple(frame.tags["tag 03"] for frame in before)}
                assert len(history.times) == min(numbers[0], int(KEPT_S / HELLO.hop_s))
    finally:
        is_over.set()
        publisher.join()


def test_filters_choose_its_names_and_top_and_min_leave_nothing_out(start: Start, connect: Connect) -> None:
    server = start()
    early = connect(server)
    for message in (*map(make_frame, range(5)), Event("mic", "tag 01", "on", 1.0), Event("mic", "tag 02", "on", 1.0)):
        server.publish(message)
    assert [read(early).type for _ in range(8)][-1] == "event"
    late = connect(server, "/?history=10&tags=tag+02,tag+05&top=1&min=0.9")
    _, history, frame = (read(late) for _ in range(3))
    assert isinstance(history, History)
    assert list(history.tags) == ["tag 02", "tag 05"]
    assert [len(column) for column in history.tags.values()] == [4, 4]
    assert (history.present, [event.tag for event in history.events]) == (("tag 02",), ["tag 02"])
    assert isinstance(frame, Frame)
    assert frame.tags == {}


def test_of_all_streams_each_that_runs_has_one_right_before_its_latest_frame(start: Start, connect: Connect) -> None:
    server = start()
    early = connect(server)
    for number in range(3):
        for stream in ("a", "b", "c"):
            server.publish(make_frame(number, stream))
    server.publish(End("b", 1.0, 3, {}))
    server.publish(make_frame(0, "c"))  # has begun anew
    for _ in range(12):
        read(early)
    late = connect(server, "/?history=20")
    got = [(message.type, getattr(message, "stream", "")) for message in (read(late) for _ in range(7))]
    expected = [("history", "a"), ("frame", "a"), ("frame", "b"), ("end", "b"), ("history", "c"), ("frame", "c")]
    assert got == [("hello", ""), *expected]
    server.publish(make_frame(0, "b"))
    read(early)
    again = connect(server, "/streams/b?history=20")
    _, history, _ = (read(again) for _ in range(3))
    assert isinstance(history, History)
    assert history.times == ()  # nothing of what was before its end
    unknown = connect(server, "/streams/elsewhere?history=20")
    assert isinstance(read(unknown), Hello)
    server.publish(make_frame(0, "elsewhere"))
    assert isinstance(read(unknown), Frame)


@pytest.mark.parametrize("value", ["301", "-1", "1.5", "", "many", "1e1", "99999999999999999999999"])
def test_seconds_that_make_no_sense_are_refused(start: Start, connect: Connect, value: str) -> None:
    server = start()
    status, text, _ = shake_hands(connect, server, f"/?history={value}")
    assert status == 400
    assert text.startswith("history ")
    assert "\n" not in text


def test_producers_and_plain_requests_have_none(start_ingest: Start, connect: Connect) -> None:
    server = start_ingest()
    assert shake_hands(connect, server, "/ingest/mic?history=10")[:2] == (
        400,
        "'history' is unknown here: there are rate, format, channels, position, top, tags, concepts, min and token",
    )
    assert http_get(server, "/?history=10")[0].status == 200


def test_a_reader_of_it_that_pauses_misses_no_frame_and_delays_nobody(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    streams = [f"stream {number}" for number in range(8)]
    server = start_ingest(IngestConfig(max_streams=8))
    other = connect(server, "/?top=1")
    read(other)

    def publish(number: int) -> None:
        scheduler.publish([make_frame(number, stream) for stream in streams])
        assert {getattr(read(other), "frame", None) for _ in streams} == {number}

    for number in range(480):
        publish(number)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    url = urlsplit(server.address)
    sock.connect((url.hostname, url.port))
    slow = connect(server, "/?history=120", sock=sock, max_queue=1)
    assert isinstance(read(slow), Hello)
    for number in range(480, 484):  # these wait behind more than a megabyte
        publish(number)
    got = [read(slow) for _ in range(16 + 32)]
    assert [message.type for message in got] == ["history", "frame"] * 8 + ["frame"] * 32
    assert {len(message.times) for message in got if isinstance(message, History)} == {int(KEPT_S / HELLO.hop_s)}
    frames = [message for message in got if isinstance(message, Frame)]
    assert [frame.frame for frame in frames if frame.stream == "stream 5"] == [479, 480, 481, 482, 483]
    assert read_counter(server, "messages_dropped_total") == 0


def test_only_who_reads_nothing_of_it_is_closed_as_too_slow(
    start: Start, connect: Connect, open_socket: OpenSocket
) -> None:
    stall_timeout_s = 0.5
    server = start(stall_timeout_s=stall_timeout_s)
    other = connect(server, "/?top=1")
    read(other)
    for number in range(450):
        server.publish(make_frame(number))
        read(other)
    stuck, slow = (open_socket(server, "/?history=120", receive_buffer=4096) for _ in range(2))
    size, started = 0, time.monotonic()
    while time.monotonic() < started + 4 * stall_timeout_s:
        size += len(slow.recv(512))
        time.sleep(0.02)
    wait_until(lambda: read_counter(server, "stalled_subscribers_total") == 1)
    assert is_closed(stuck)
    assert size < 100_000  # it had not read all of it
    assert server.subscribers == 2
