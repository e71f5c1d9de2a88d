"""What a stream's results are handed to. Each output is one of these; the wiring knows no other kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import Error, Event, Gap


@dataclass(frozen=True)
class Stream:
    """One input before it is heard. number: its place among all, from 0; duration_s: None if unknown."""

    name: str
    number: int = 0
    count: int = 1
    duration_s: float | None = None


class Sink(Protocol):
    """begin, then frames, events, gaps and errors in order of time, then end; once per stream, streams one by one.

    A method raises OutputError when what it writes to fails, BrokenPipeError when nobody reads any more.
    """

    def begin(self, stream: Stream) -> None: ...

    def frame(self, stream: Stream, frame: TagFrame) -> None: ...

    def event(self, event: Event) -> None: ...

    def gap(self, gap: Gap) -> None: ...

    def error(self, error: Error) -> None: ...

    def end(self, stream: Stream, timeline: Timeline) -> None: ...


class SilentSink:
    """A sink that does nothing: the base of those that need only some of the calls."""

    def begin(self, stream: Stream) -> None:
        pass

    def frame(self, stream: Stream, frame: TagFrame) -> None:
        pass

    def event(self, event: Event) -> None:
        pass

    def gap(self, gap: Gap) -> None:
        pass

    def error(self, error: Error) -> None:
        pass

    def end(self, stream: Stream, timeline: Timeline) -> None:
        pass
