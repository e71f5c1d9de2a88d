"""A subscriber that does not read loses frames, learns how many, and is closed; no other is affected."""

from __future__ import annotations

import gc
import itertools
import tracemalloc

import pytest

from streamtag.protocol.messages import Event, Frame, Message
from tests.server.support import Start, make_frame, read, read_all, wait_until


def test_a_slow_reader_loses_the_oldest_frames_and_is_told_how_many(start: Start) -> None:
    server = start(queue_length=20)
    client = server.connect_slowly()
    read(client)
    events = [Event("mic", "tag 01", "on" if number % 2 else "off", number) for number in range(10)]
    for number in range(300):
        server.publish(make_frame(number))
        if number % 30 == 29:
            server.publish(events[number // 30])
    wait_until(lambda: server.counter("frames_total") == 300)
    got: list[Message] = []
    while not (got and isinstance(got[-1], Event) and got[-1] == events[-1]):
        got.append(read(client))
    server.publish(make_frame(300))
    got.append(read(client))
    frames = [message for message in got if isinstance(message, Frame)]
    assert [message for message in got if isinstance(message, Event)] == events  # a reader may rely on these
    assert frames[0].frame == 0
    assert frames[-1].frame == 300
    missed = [later.frame - former.frame - 1 for former, later in itertools.pairwise(frames)]
    assert [message.dropped for message in frames] == [0, *missed]
    assert sum(missed) == server.counter("messages_dropped_total") > 100


def test_a_subscriber_that_does_not_read_is_closed_with_try_again_later_and_an_idle_one_stays(start: Start) -> None:
    server = start(stall_timeout_s=0.5)
    client, other = server.connect_slowly(), server.connect("/?top=1")
    assert read(client) == read(other)
    idle = server.connect_slowly("/streams/elsewhere")
    for number in range(300):
        server.publish(make_frame(number))
        read(other)
    wait_until(lambda: server.counter("stalled_subscribers_total") == 1)
    assert 0 < len(read_all(client)) < 300
    assert client.close_code == 1013
    assert "too slow" in (client.close_reason or "")
    wait_until(lambda: server.subscribers == 2)
    for subscriber, stream in ((idle, "elsewhere"), (other, "mic")):
        server.publish(make_frame(300, stream))
        while read(subscriber).type != "frame":
            pass


@pytest.mark.slow
def test_memory_stays_bounded(start: Start) -> None:
    """With one that does not read, one that does, and others that come and go, on streams that come and go."""
    server = start(stall_timeout_s=600)
    server.connect_slowly()
    reader = server.connect("/?top=1")
    read(reader)

    def run(numbers: range) -> int:
        for number in numbers:
            server.publish(make_frame(number, f"stream {number // 5}"))
            read(reader)
            if number % 20 == 0:
                server.open_socket(f"/?top={number % 50 + 1}").close()
        gc.collect()  # connections are cycles
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        run(range(1500))  # all bounds are reached: of queues, and of streams that are known
        before = run(range(1500, 1600))
        after = run(range(1600, 3000))
    finally:
        tracemalloc.stop()
    assert after - before < 250_000  # the frames alone would be many MB, for each who did not read them
