"""The base of all outputs that speak in the protocol's messages."""

from __future__ import annotations

from abc import abstractmethod

from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import Timeline
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Message
from streamtag.sinks.base import SilentSink, Stream


class MessageSink(SilentSink):
    """Turns what a stream gives into whole messages, all tags in them, and tells them in order of time."""

    def __init__(self, tags: tuple[str, ...]) -> None:
        """tags: the model's, in its order [P]."""
        self._tags = tags

    @abstractmethod
    def tell(self, message: Message) -> None:
        """Where the message goes."""

    def frame(self, stream: Stream, frame: TagFrame) -> None:
        tags = dict(zip(self._tags, frame.probs.tolist(), strict=True))
        self.tell(Frame(stream.name, frame.index, frame.start, frame.end, tags, frame.latency_s))

    def event(self, event: Event) -> None:
        self.tell(event)

    def gap(self, gap: Gap) -> None:
        self.tell(gap)

    def error(self, error: Error) -> None:
        self.tell(error)

    def end(self, stream: Stream, timeline: Timeline) -> None:
        summary = dict(zip(timeline.tags, timeline.means.tolist(), strict=True)) if len(timeline) else {}
        self.tell(End(stream.name, timeline.seconds, len(timeline), summary))
