"""Messages on their way to the thread that writes: in order, bounded, and nobody waits."""

from __future__ import annotations

import threading

from streamtag.protocol.messages import End, Frame, Gap
from streamtag.terminal.console_queue import NOTICES, ConsoleQueue


def _frame(number: int) -> Frame:
    return Frame("mic", number, 0.0, 0.5, {})


def test_what_is_put_is_taken_in_order_and_once() -> None:
    outlet = ConsoleQueue(10)
    outlet.put([_frame(0), Gap("mic", 0.5, 0.1)])
    outlet.say("mic: comes")
    outlet.put([_frame(1)])
    assert outlet.take(0) == (["mic: comes"], [_frame(0), Gap("mic", 0.5, 0.1), _frame(1)])
    assert outlet.take(0) == ([], [])


def test_whoever_waits_is_woken() -> None:
    outlet = ConsoleQueue(10)
    timer = threading.Timer(0.05, outlet.put, [[_frame(0)]])
    timer.start()
    assert outlet.take(20) == ([], [_frame(0)])
    timer.join()


def test_where_nobody_takes_frames_go_and_the_next_tells() -> None:
    outlet = ConsoleQueue(3)
    outlet.put([_frame(number) for number in range(10)])
    outlet.put([End("mic", 2.5, 10, {})])
    for number in range(2 * NOTICES):
        outlet.say(str(number))
    notices, messages = outlet.take(0)
    assert notices == [str(number) for number in range(NOTICES, 2 * NOTICES)]
    assert [(m.frame, m.dropped) for m in messages if isinstance(m, Frame)] == [(8, 8), (9, 0)]
    assert messages[-1] == End("mic", 2.5, 10, {})
