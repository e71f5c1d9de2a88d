"""A subscriber that comes late gets the recent past of every running stream, and pays for it alone."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest

from streamtag.protocol.messages import Concept, End, Event, Frame, Gap, Hello, History, Message
from streamtag.protocol.reader import MAX_MESSAGE_CHARS, parse
from streamtag.server.config import IngestConfig
from streamtag.server.history import BLOCK_FRAMES, KEPT_S, MAX_GREETING_VALUES, MAX_VALUES, StreamHistories
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

HOP_S = 0.25  # survives the rounding of times
NAMES = ("guitar", "harp")
CONCEPTS = (Concept("strings", "instrument", ("guitar", "harp"), 0.5),)
SMALL = Hello("streamtag 0.1.0", "small", NAMES, 16000, HOP_S, 0.5, 0.375, (0.5, 0.5), CONCEPTS)
RANDOM = np.random.default_rng(3)


def _frame(number: int, stream: str = "mic") -> Frame:
    guitar, harp, strings = RANDOM.random(3).tolist()
    start = HOP_S * number - HOP_S
    return Frame(stream, number, start, start + 0.5, {"guitar": guitar, "harp": harp}, concepts={"strings": strings})


def _kept(histories: StreamHistories, seconds: float = 300, stream: str = "mic") -> History | None:
    excerpt = histories.excerpts([stream], seconds).get(stream)
    return None if excerpt is None else excerpt.message()


def _expected(frames: list[Frame]) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]], tuple[float, ...]]:
    """Return times, tags and the concept's values as a history holds them."""
    tags = {name: tuple(round(frame.tags[name], 4) for frame in frames) for name in NAMES}
    return (
        tuple(HOP_S * frame.frame for frame in frames),
        tags,
        tuple(round(frame.concepts["strings"], 4) for frame in frames),
    )


@pytest.mark.parametrize("count", [1, 2, BLOCK_FRAMES, BLOCK_FRAMES + 1, 2 * BLOCK_FRAMES, 100])
def test_all_frames_but_the_latest_are_in_it_as_they_were_sent(count: int) -> None:
    histories, frames = StreamHistories(SMALL), [_frame(number) for number in range(count)]
    for frame in frames:
        histories.add(frame)
    history = _kept(histories)
    assert history is not None
    assert (history.times, history.tags, history.concepts["strings"]) == _expected(frames[:-1])
    assert parse(history.to_json()) == history


def test_it_is_bounded_by_the_time_that_is_kept_and_by_the_time_that_is_asked_for() -> None:
    histories, frames = StreamHistories(SMALL, kept_s=50), [_frame(number) for number in range(1000)]
    for frame in frames:
        histories.add(frame)
    for seconds, count in ((300, 200), (10, 40), (1, 4), (0.1, 0)):
        history = _kept(histories, seconds)
        assert history is not None
        assert history.times == _expected(frames[999 - count : 999])[0]
        assert history.tags["harp"] == _expected(frames[999 - count : 999])[1]["harp"]


def test_it_has_the_events_and_gaps_of_its_time_and_what_is_present_from_any_time() -> None:
    histories = StreamHistories(SMALL)
    early, late = Event("mic", "strings", "on", 1.0, "strings"), Event("mic", "strings", "off", 8.0, "strings")
    gaps = [Gap("mic", 2.0, 0.5), Gap("mic", 6.5, 2.0)]
    for message in (*map(_frame, range(10)), early, *gaps, *map(_frame, range(30, 41))):
        histories.add(message)
    history = _kept(histories, 5)  # the latest frame is at 10 s
    assert history is not None
    assert (history.present, history.events, history.gaps) == (("strings",), (), (gaps[1],))
    histories.add(late)
    history = _kept(histories, 5)
    assert history is not None
    assert (history.present, history.events) == ((), (late,))
    history = _kept(histories)
    assert history is not None
    assert (history.events, history.gaps) == ((early, late), tuple(gaps))


def test_it_is_forgotten_with_the_end_and_when_the_stream_begins_anew_without_one() -> None:
    histories = StreamHistories(SMALL)
    on, frame = Event("mic", "strings", "on", 1.0, "strings"), _frame(0)
    for message in (*map(_frame, range(50)), on, Gap("mic", 1.0, 1.0), frame):
        histories.add(message)
    history = _kept(histories)
    assert history is not None
    assert (history.times, history.present, history.events, history.gaps) == ((), (), (), ())
    assert (history.tags, history.concepts) == ({"guitar": (), "harp": ()}, {"strings": ()})
    histories.add(_frame(1))
    history = _kept(histories)
    assert history is not None
    assert (history.times, history.tags, history.concepts["strings"]) == _expected([frame])
    histories.add(End("mic", 1.0, 2, {}))
    assert _kept(histories) is None
    histories.add(on)
    assert _kept(histories) is None


def test_streams_beyond_the_limit_have_none_until_another_ends() -> None:
    histories = StreamHistories(SMALL, max_streams=2)
    for number in range(3):
        for stream in "abc":
            histories.add(_frame(number, stream))
    assert list(histories.excerpts("abc", 300)) == ["a", "b"]
    histories.add(End("a", 1.0, 3, {}))
    histories.add(_frame(3, "c"))
    assert list(histories.excerpts("abc", 300)) == ["b", "c"]


def test_frames_of_a_damaged_or_filtered_recording_give_probabilities_too() -> None:
    histories = StreamHistories(SMALL)
    strange = [
        Frame("mic", 0, 0.0, 0.5, {"harp": 1.5, "guitar": -3.0}),
        Frame("mic", 1, 0.25, 0.75, {"guitar": 1e300, "drums": 0.5}),
        Frame("mic", 2, 0.5, 1.0, {}),
        Frame("mic", 3, 0.75, 1.25, {}),
    ]
    for message in (*strange, *(Event("mic", f"name {number}", "on", 0.5) for number in range(1000))):
        histories.add(message)
    history = _kept(histories)
    assert history is not None
    assert history.tags == {"guitar": (0.0, 1.0, 0.0), "harp": (1.0, 0.0, 0.0)}
    assert (history.concepts, history.present, history.events) == ({}, (), ())  # no frame has a concept
    assert parse(history.to_json()) == history
    without_hop = replace(SMALL, tags=(), concepts=(), thresholds=(), hop_s=-1.0)
    histories = StreamHistories(without_hop)
    for frame in (*strange, Frame("mic", 4, 1.0, 1.5, {})):
        histories.add(frame)
    history = _kept(histories)
    assert history is not None
    assert (len(history.times), history.tags) == (4, {})


def test_a_message_is_never_longer_than_a_reader_accepts_and_all_together_have_a_limit() -> None:
    tags = tuple(f"a tag with a long name {number}" for number in range(300))
    histories = StreamHistories(replace(SMALL, tags=tags, thresholds=(0.5,) * 300, concepts=()))
    for stream in ("a", "b", "c", "d", "e"):
        for number in range(BLOCK_FRAMES * 20):
            values = dict.fromkeys(tags, 0.1234)
            histories.add(Frame(stream, number, 1000 + HOP_S * number, 1000.5 + HOP_S * number, values))
            histories.add(Event(stream, tags[number % 300], "on", 1000 + HOP_S * number))
            histories.add(Gap(stream, 1000 + HOP_S * number, 0.123))
    alone = _kept(histories, 300, "a")
    assert alone is not None
    assert len(alone.times) == MAX_VALUES // 300
    assert MAX_MESSAGE_CHARS / 2 < len(alone.to_json()) < MAX_MESSAGE_CHARS
    together = [excerpt.message() for excerpt in histories.excerpts("abcde", 300).values()]
    assert sum(300 * len(history.times) for history in together) == MAX_GREETING_VALUES
    assert len({len(history.times) for history in together}) == 1  # each has the same share
    assert sum(len(history.to_json()) for history in together) < 2 * MAX_MESSAGE_CHARS


# --- over real sockets -----------------------------------------------------------------------------------------------


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
