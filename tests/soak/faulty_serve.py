"""The negative control: `streamtag serve` with faults. `python -m tests.soak.faulty_serve FAULTS ARGUMENTS ...`

FAULTS, separated by commas: lose (a frame in ten), repeat (one), mix (one gets another stream's probabilities), hide
(gaps), each in a quarter of the streams, and leak (memory with every message).
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

STREAM_FAULTS = ("lose", "repeat", "mix", "hide")
FRAME_INTERVAL = 10
LEAK_BYTES = 1 << 16  # per message

Publish = Callable[[Sequence[Message]], None]


class FaultyPublisher:
    """Damages messages between the scheduler and the server."""

    def __init__(self, faults: Sequence[str], publish: Publish) -> None:
        self._faults, self._publish = faults, publish
        self._other_tags: dict[str, float] = {}
        self._leaked: list[bytes] = []

    def publish(self, messages: Sequence[Message]) -> None:
        if "leak" in self._faults:
            self._leaked += [bytes([1]) * LEAK_BYTES for _ in messages]
        self._publish([damaged for message in messages for damaged in self._damage(message)])

    def _damage(self, message: Message) -> list[Message]:
        fault = STREAM_FAULTS[zlib.crc32(str(getattr(message, "stream", "")).encode()) % len(STREAM_FAULTS)]
        if fault not in self._faults:
            return [message]
        if isinstance(message, Gap) and fault == "hide":
            return []
        if isinstance(message, Frame):
            if message.frame % FRAME_INTERVAL == FRAME_INTERVAL - 1:
                if fault == "mix" and self._other_tags:
                    return [replace(message, tags=self._other_tags)]
                return [message] * {"lose": 0, "repeat": 2}.get(fault, 1)
            if fault != "mix":
                self._other_tags = dict(message.tags)
        return [message]


def damage_scheduler(faults: Sequence[str]) -> None:
    """Give every scheduler from now on these faults."""
    init = Scheduler.__init__

    def damaged(self: Scheduler, pool: Any, publish: Publish, *a: Any, **b: Any) -> None:
        init(self, pool, FaultyPublisher(faults, publish).publish, *a, **b)

    Scheduler.__init__ = damaged  # type: ignore[method-assign]


if __name__ == "__main__":
    damage_scheduler(sys.argv[1].split(","))
    sys.exit(main(sys.argv[2:]))
