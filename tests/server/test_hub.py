"""What a late subscriber gets of many streams."""

from __future__ import annotations

from streamtag.protocol.messages import End, Frame
from streamtag.server.config import IngestConfig
from tests.server.fake_scheduler import FakeScheduler
from tests.server.support import Connect, Start, make_frame, read


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
