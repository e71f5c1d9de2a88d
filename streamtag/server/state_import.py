"""A stream that comes from another server, with all that it needs to go on here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from streamtag.errors import StreamtagError
from streamtag.protocol.messages import Error, Message, Ready
from streamtag.scheduler.registry import Busy
from streamtag.scheduler.scheduler import Scheduler
from streamtag.server.close_reason import CloseReason
from streamtag.server.connections import Connection

PATIENCE_S = 10.0  # for its one message
DONE = CloseReason(CloseCode.NORMAL_CLOSURE, "")
NO_STATE = CloseReason(CloseCode.POLICY_VIOLATION, "one binary message is wanted: the state of a stream")
LATE = CloseReason(CloseCode.POLICY_VIOLATION, "no state came")
NOT_NOW = CloseReason(CloseCode.TRY_AGAIN_LATER, "busy")
NOT_SO = CloseReason(CloseCode.POLICY_VIOLATION, "the state cannot be taken")


class StateImport:
    """Owned by the event loop. The other side sends one binary message, hears `ready` or `error`, and is closed."""

    def __init__(
        self, visitor: Connection, stream: str, engine: Scheduler, max_message_bytes: int, gone: Callable[[bool], None]
    ) -> None:
        """gone: called when the connection is no more, with whether the stream was taken."""
        self._visitor = visitor
        self._stream = stream
        self._engine = engine
        self._gone = gone
        self._taken = False
        visitor.guest = self
        visitor.protocol.max_message_size = max_message_bytes

    async def attend(self) -> None:
        with suppress(ConnectionClosed):
            await (await self._adopt()).say(self._visitor)

    def lost(self) -> None:
        self._gone(self._taken)

    async def _adopt(self) -> CloseReason:
        try:
            async with asyncio.timeout(PATIENCE_S):
                data = await self._visitor.recv(decode=None)
        except TimeoutError:
            return LATE
        if not isinstance(data, bytes):
            return NO_STATE
        try:
            position = await asyncio.wrap_future(self._engine.import_state(self._stream, data))
        except StreamtagError as error:
            await self._say(Error(str(error), self._stream))
            return NOT_NOW if isinstance(error, Busy) else NOT_SO
        self._taken = True
        await self._say(Ready(self._stream, position))
        return DONE

    async def _say(self, message: Message) -> None:
        await self._visitor.send(message.to_json())
