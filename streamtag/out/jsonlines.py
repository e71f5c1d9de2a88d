"""Messages as JSON lines on a text stream, each flushed as it comes."""

from __future__ import annotations

from typing import TextIO

from streamtag.live.frame import TagFrame
from streamtag.message import End, Event, Frame, Message
from streamtag.out.selection import Selection
from streamtag.out.sink import SilentSink, Stream
from streamtag.out.timeline import Timeline


class JsonLines(SilentSink):
    """Prints the protocol's messages, thinned by the selection as a subscriber's `?top=` and `?tags=` thin.

    Thinned are the tags of frames, the summaries (the strongest by mean) and, by name, the events.
    """

    def __init__(self, file: TextIO, selection: Selection) -> None:
        self._file = file
        self._selection = selection
        self._names = frozenset(selection.names)

    def frame(self, stream: Stream, frame: TagFrame) -> None:
        tags = self._selection.thin(frame.probs)
        self._write(Frame(stream.name, frame.index, frame.start, frame.end, tags))

    def event(self, event: Event) -> None:
        if event.tag in self._names:
            self._write(event)

    def end(self, stream: Stream, timeline: Timeline) -> None:
        summary = self._selection.thin(timeline.means) if len(timeline) else {}
        self._write(End(stream.name, timeline.seconds, len(timeline), summary))

    def _write(self, message: Message) -> None:
        write_line(self._file, message)


def write_line(file: TextIO, message: Message) -> None:
    """One message, one line, flushed: whoever reads the pipe has it at once."""
    file.write(message.to_json() + "\n")
    file.flush()
