"""How a connection is closed, and why."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode

CLOSE_S = 2.0  # s; how long the other side has for its part of a close


class CloseReason(NamedTuple):
    """The close frame that ends a connection."""

    code: CloseCode
    reason: str

    async def say(self, connection: ServerConnection) -> None:
        """Waits for the other side's answer, but not long: a socket that is stuck is cut."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await connection.close(self.code, self.reason)
        except TimeoutError:
            connection.transport.abort()


STALLED = CloseReason(CloseCode.TRY_AGAIN_LATER, "too slow: nothing was read for too long")
UNEXPECTED_DATA = CloseReason(CloseCode.POLICY_VIOLATION, "subscribers have nothing to say")
OVER = CloseReason(CloseCode.GOING_AWAY, "the server ends")
ENDED = CloseReason(CloseCode.NORMAL_CLOSURE, "the stream has ended")
BAD_TEXT = CloseReason(CloseCode.POLICY_VIOLATION, 'producers say nothing but {"type":"end"}')
SILENT = CloseReason(CloseCode.POLICY_VIOLATION, "no sound")
REPLACED = CloseReason(CloseCode.POLICY_VIOLATION, "the stream came back by another connection")
RATE_LIMITED = CloseReason(CloseCode.POLICY_VIOLATION, "too many small messages")
