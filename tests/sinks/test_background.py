"""A sink that writes from its own thread: nobody waits for a slow reader, and nothing else is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from streamtag.errors import OutputError
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Frame, Gap, Message
from streamtag.sinks.background import BackgroundSink
from streamtag.sinks.base import Sink

TIMEOUT_S = 20


class Reader(Sink):
    """A sink that blocks until it is allowed to continue, and keeps what it gets. error: raised by the first write."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_continue = threading.Event()
        self.is_writing = threading.Event()
        self.is_closed = False
        self.begun: list[str] = []
        self.messages: list[Message] = []
        self._error = error

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:
        assert stream.name == timeline.name
        self.begun.append(f"{stream.name} after {len(self.messages)}")

    def write(self, message: Message) -> None:
        self.is_writing.set()
        assert self.may_continue.wait(TIMEOUT_S)
        if self._error is not None:
            raise self._error
        self.messages.append(message)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.may_continue.set()


def _failed(error: Exception) -> BackgroundSink:
    reader = Reader(error)
    reader.may_continue.set()
    sink = BackgroundSink([reader])
    sink.write(_frame(0))
    return sink


def _frame(number: int) -> Frame:
    return Frame("mic", number, 0.0, 0.5, {"guitar": 0.5})


def test_a_stalled_reader_delays_no_writer_and_the_next_frame_counts_what_was_dropped(reader: Reader) -> None:
    sink = BackgroundSink([reader], max_messages=4)
    sink.write(_frame(0))
    assert reader.is_writing.wait(TIMEOUT_S)
    for number in range(1, 100):  # would never return if it waited
        sink.write(_frame(number))
    sink.write(End("mic", 25.6, 100, {}))
    reader.may_continue.set()
    sink.close()
    frames = [message for message in reader.messages if isinstance(message, Frame)]
    assert frames[0] == _frame(0)
    assert frames[-1] == _frame(99)
    assert len(frames) + sum(frame.dropped for frame in frames) == 100
    assert [replace(frame, dropped=0) for frame in frames] == [_frame(frame.frame) for frame in frames]
    assert reader.messages[-1] == End("mic", 25.6, 100, {})
    assert reader.is_closed


def test_streams_begin_in_order_with_their_messages(reader: Reader) -> None:
    reader.may_continue.set()
    with BackgroundSink([reader]) as sink:
        for name in ("a", "b"):
            sink.begin(StreamInfo(name), Timeline(name, ()))
            sink.write(Gap(name, 1.0, 0.5))
            sink.write(End(name, 2.0, 4, {}))
    assert reader.begun == ["a after 0", "b after 2"]
    assert [message.type for message in reader.messages] == ["gap", "end"] * 2


@pytest.mark.parametrize("error", [BrokenPipeError(), OutputError("disk full")])
def test_a_failure_is_raised_by_the_next_write_and_on_close(error: Exception) -> None:
    sink = _failed(error)
    with pytest.raises(type(error)):
        sink.close()
    with pytest.raises(type(error)):
        sink.write(_frame(1))


def test_a_failure_does_not_hide_the_error_that_ends_the_program() -> None:
    _failed(BrokenPipeError()).__exit__(ZeroDivisionError, ZeroDivisionError(), None)


def test_an_impatient_user_does_not_wait_for_a_stalled_reader(reader: Reader) -> None:
    sink = BackgroundSink([reader])
    sink.write(_frame(0))
    assert reader.is_writing.wait(TIMEOUT_S)
    sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert not reader.messages


def test_the_thread_also_polls_while_there_is_nothing_to_write() -> None:
    polled = threading.Semaphore(0)
    with BackgroundSink([Reader()], poll=polled.release):
        for _ in range(3):
            assert polled.acquire(timeout=TIMEOUT_S)
