"""Messages as JSON lines on a text stream, each flushed as it comes."""

from __future__ import annotations

from typing import TextIO

from streamtag.protocol.messages import Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink


class JsonLines(Sink):
    """Prints messages, filtered by the selection as a subscriber's `?top=` and `?tags=` filter them."""

    def __init__(self, file: TextIO, selection: Selection) -> None:
        self._file = file
        self._filter = selection.message_filter

    def write(self, message: Message) -> None:
        filtered = self._filter(message)
        if filtered is not None:
            write_line(self._file, filtered)


def write_line(file: TextIO, message: Message) -> None:
    """Write one message as one line and flush it, so that the reader of a pipe has it at once."""
    file.write(message.to_json() + "\n")
    file.flush()
