"""The negative control: `streamtag serve` with faults. `python -m tests.soak.faulty_serve FAULTS ARGUMENTS ...`

FAULTS, separated by commas; each befalls streams of its own: lose (a frame in ten), repeat (one), mix (one gets
another stream's probabilities), hide (gaps are not told), leak (something is kept of every message).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from streamtag.cli import main
from streamtag.protocol.messages import Frame, Gap, Message
from streamtag.scheduler.scheduler import Scheduler

STREAMS = ("lose", "repeat", "mix", "hide")  # faults that befall every fourth stream each
EVERY = 10  # frames
LEAK = 1 << 16  # bytes a message


class Faults:
    """Between the engine and those who listen."""

    def __init__(self, wanted: Sequence[str], tell: Callable[[Sequence[Message]], None]) -> None:
        self._wanted = wanted
        self._tell = tell
        self._last: dict[str, float] = {}
        self._kept: list[bytes] = []

    def tell(self, messages: Sequence[Message]) -> None:
        if "leak" in self._wanted:
            self._kept += [bytes([1]) * LEAK for _ in messages]
        self._tell([told for message in messages for told in self._damaged(message)])

    def _damaged(self, message: Message) -> list[Message]:
        fault = STREAMS[zlib.crc32(str(getattr(message, "stream", "")).encode()) % len(STREAMS)]
        if fault not in self._wanted:
            fault = ""
        if isinstance(message, Gap) and fault == "hide":
            return []
        if isinstance(message, Frame):
            if message.frame % EVERY == EVERY - 1:
                if fault == "lose":
                    return []
                if fault == "repeat":
                    return [message, message]
                if fault == "mix" and self._last:
                    return [replace(message, tags=self._last)]
            if fault != "mix":
                self._last = dict(message.tags)
        return [message]


def break_engine(wanted: Sequence[str]) -> None:
    """Every engine from now on has these faults."""
    make = Scheduler.__init__

    def damaged(
        self: Scheduler, pool: Any, tags: Any, thresholds: Any, publish: Any, *more: Any, **others: Any
    ) -> None:
        make(self, pool, tags, thresholds, Faults(wanted, publish).tell, *more, **others)

    Scheduler.__init__ = damaged  # type: ignore[method-assign]


if __name__ == "__main__":
    break_engine(sys.argv[1].split(","))
    sys.exit(main(sys.argv[2:]))
