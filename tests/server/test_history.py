"""A subscriber that comes late gets the past of every running stream, over real sockets, and pays for it alone."""

from __future__ import annotations

import itertools
import threading

from streamtag.protocol.messages import End, Event, Frame, Gap, Hello, History, Message
from streamtag.server.config import IngestConfig
from streamtag.server.history import KEPT_S
from tests.server.support import HELLO, TAGS, LocalServer, Start, is_closed, make_frame, read, wait_until


def test_a_late_subscriber_gets_what_an_early_one_has_got_and_nothing_twice(server: LocalServer) -> None:
    early = server.connect()
    sent: list[Message] = [make_frame(number) for number in range(100)]
    sent[40:40] = [Event("mic", "tag 01", "on", 10.0), Gap("mic", 9.9, 0.1)]
    for message in sent:
        server.publish(message)
    got = [read(early) for _ in range(1 + len(sent))][1:]
    late = server.connect("/streams/mic?history=120")
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
    plain = server.connect("/streams/mic")  # without the parameter all is as before
    assert [read(plain).type for _ in range(2)] == ["hello", "frame"]


def test_it_joins_the_live_frames_without_a_hole_while_these_are_published(start: Start) -> None:
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
            late = server.connect("/?history=300&tags=tag+03")
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


def test_of_all_streams_each_that_runs_has_one_right_before_its_latest_frame(server: LocalServer) -> None:
    early = server.connect()
    for number in range(3):
        for stream in ("a", "b", "c"):
            server.publish(make_frame(number, stream))
    server.publish(End("b", 1.0, 3, {}))
    server.publish(make_frame(0, "c"))  # has begun anew
    for _ in range(12):
        read(early)
    late = server.connect("/?history=20")
    got = [(message.type, getattr(message, "stream", "")) for message in (read(late) for _ in range(7))]
    expected = [("history", "a"), ("frame", "a"), ("frame", "b"), ("end", "b"), ("history", "c"), ("frame", "c")]
    assert got == [("hello", ""), *expected]
    unknown = server.connect("/streams/elsewhere?history=20")
    assert isinstance(read(unknown), Hello)
    server.publish(make_frame(0, "elsewhere"))
    assert isinstance(read(unknown), Frame)


def test_a_reader_of_it_that_pauses_misses_no_frame_and_delays_nobody(start: Start) -> None:
    streams = [f"stream {number}" for number in range(8)]
    server = start(IngestConfig(max_streams=8))
    other = server.connect("/?top=1")
    read(other)

    def publish(number: int) -> None:
        server.scheduler.publish([make_frame(number, stream) for stream in streams])
        assert {getattr(read(other), "frame", None) for _ in streams} == {number}

    for number in range(480):
        publish(number)
    slow = server.connect_slowly("/?history=120")
    assert isinstance(read(slow), Hello)
    for number in range(480, 484):  # these wait behind more than a megabyte
        publish(number)
    got = [read(slow) for _ in range(16 + 32)]
    assert [message.type for message in got] == ["history", "frame"] * 8 + ["frame"] * 32
    assert {len(message.times) for message in got if isinstance(message, History)} == {int(KEPT_S / HELLO.hop_s)}
    frames = [message for message in got if isinstance(message, Frame)]
    assert [frame.frame for frame in frames if frame.stream == "stream 5"] == [479, 480, 481, 482, 483]
    assert server.counter("messages_dropped_total") == 0


def test_only_who_reads_nothing_of_it_is_closed_as_too_slow(start: Start) -> None:
    server = start(stall_timeout_s=1.0, close_timeout_s=0.1)
    other = server.connect("/?top=1")
    read(other)
    for number in range(450):
        server.publish(make_frame(number))
        read(other)
    slow, size, stuck = server.open_socket("/?history=120", receive_buffer=4096), 0, []
    for _ in range(2):
        stuck.append(server.open_socket("/?history=120", receive_buffer=4096))
        while size < len(stuck) * 16_384:  # of more than 100 kB
            part = slow.recv(4096)
            assert part
            size += len(part)
        wait_until(lambda: server.counter("stalled_subscribers_total") == len(stuck))
    wait_until(lambda: server.subscribers == 2)
    assert server.counter("stalled_subscribers_total") == 2
    assert all(map(is_closed, stuck))
