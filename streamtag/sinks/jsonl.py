"""Messages as JSON lines on a text stream, each flushed as it comes."""

from __future__ import annotations

from typing import TextIO

from streamtag.protocol.messages import Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.message_sink import MessageSink


class JsonLines(MessageSink):
    """Prints the protocol's messages, thinned by the selection as a subscriber's `?top=` and `?tags=` thin."""

    def __init__(self, file: TextIO, selection: Selection) -> None:
        super().__init__(selection.tags)
        self._file = file
        self._thin = selection.message_filter

    def tell(self, message: Message) -> None:
        wanted = self._thin(message)
        if wanted is not None:
            write_line(self._file, wanted)


def write_line(file: TextIO, message: Message) -> None:
    """One message, one line, flushed: whoever reads the pipe has it at once."""
    file.write(message.to_json() + "\n")
    file.flush()
