"""What goes wrong and what is worth knowing, for people and for readers of messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from streamtag.errors import StreamtagError
from streamtag.protocol.messages import Error, Message


class Reporter:
    """Errors and notes: one line each on `errors`; errors as messages too, to all in `told`."""

    def __init__(self, errors: TextIO) -> None:
        self.failed = False
        self.told: list[Callable[[Message], None]] = []
        self._errors = errors

    def error(self, error: StreamtagError) -> None:
        self.failed = True
        self.note(str(error))
        for tell in self.told:
            tell(Error(str(error)))

    def note(self, text: str) -> None:
        print(f"streamtag: {text}", file=self._errors, flush=True)
