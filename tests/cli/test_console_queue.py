"""Messages on their way to the thread that writes: in order, bounded, and nobody waits."""

from __future__ import annotations

import threading

from streamtag.cli.serve_output import MAX_NOTICES, ConsoleQueue
from streamtag.protocol.messages import End, Frame, Gap


def _frame(number: int) -> Frame:
    return Frame("mic", number, 0.0, 0.5, {})


def test_messages_are_read_in_order_and_once() -> None:
    queue = ConsoleQueue(10)
    queue.put_all([_frame(0), Gap("mic", 0.5, 0.1)])
    queue.notify("mic: comes")
    queue.put_all([_frame(1)])
    assert queue.read(0) == (["mic: comes"], [_frame(0), Gap("mic", 0.5, 0.1), _frame(1)])
    assert queue.read(0) == ([], [])


def test_a_waiting_reader_gets_the_next_message_at_once() -> None:
    queue = ConsoleQueue(10)
    timer = threading.Timer(0.05, queue.put_all, [[_frame(0)]])
    timer.start()
    assert queue.read(20) == ([], [_frame(0)])
    timer.join()


def test_without_a_reader_frames_are_dropped_and_counted() -> None:
    queue = ConsoleQueue(3)
    queue.put_all([_frame(number) for number in range(10)])
    queue.put_all([End("mic", 2.5, 10, {})])
    for number in range(2 * MAX_NOTICES):
        queue.notify(str(number))
    notices, messages = queue.read(0)
    assert notices == [str(number) for number in range(MAX_NOTICES, 2 * MAX_NOTICES)]
    assert [(m.frame, m.dropped) for m in messages if isinstance(m, Frame)] == [(7, 7), (8, 0), (9, 0)]
    assert messages[-1] == End("mic", 2.5, 10, {})
