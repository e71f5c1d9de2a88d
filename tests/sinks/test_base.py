"""A group of sinks: every message to every sink, whatever one of them does."""

from __future__ import annotations

import pytest

from streamtag.errors import OutputError
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Gap, Message
from streamtag.sinks.base import CallbackSink, Sink, SinkGroup

INFO, TIMELINE = StreamInfo("mic"), Timeline("mic", ())


class Failing(Sink):
    """Fails at the message of the given number, from 0; at -1 when a stream begins. Counts what it gets."""

    def __init__(self, at: int, error: Exception) -> None:
        self.calls = 0
        self._at = at
        self._error = error

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        if self._at < 0:
            raise self._error

    def write(self, message: Message) -> None:  # noqa: ARG002
        self.calls += 1
        if self.calls > self._at:
            raise self._error


@pytest.mark.parametrize("error", [OutputError("disk full"), BrokenPipeError(), ZeroDivisionError()])
@pytest.mark.parametrize("at", [-1, 0, 1])
def test_the_others_get_everything_when_one_sink_fails(error: Exception, at: int) -> None:
    first, last = list[Message](), list[Message]()
    failing = Failing(at, error)
    group = SinkGroup([CallbackSink(first.append), failing, CallbackSink(last.append)])
    messages = [Gap("mic", 1.0, 0.5), Gap("mic", 2.0, 0.5), Gap("mic", 3.0, 0.5), End("mic", 4.0, 2, {})]
    group.begin(INFO, TIMELINE)
    for message in messages:
        group.publish(message)
    assert first == last == messages
    assert failing.calls == at + 1  # nothing more after the failure
    assert group.has_failed
    with pytest.raises(type(error)):
        group.raise_failure()


def test_the_first_of_several_failures_is_raised() -> None:
    group = SinkGroup([Failing(1, OutputError("second")), Failing(0, OutputError("first"))])
    for start in (1.0, 2.0):
        group.publish(Gap("mic", start, 0.5))
    with pytest.raises(OutputError, match="first"):
        group.raise_failure()
