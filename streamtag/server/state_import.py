"""A stream that comes from another server, with everything that it needs to continue here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.frames import CloseCode, Frame, Opcode

from streamtag.errors import StreamtagError
from streamtag.protocol.messages import Error, Message, Ready
from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import Busy
from streamtag.server.connections import SERVER_CLOSING, CloseReason, Connection, Handler

STATE_TIMEOUT_S = 10.0  # until the state has come
IMPORTED = CloseReason(CloseCode.NORMAL_CLOSURE, "")
NO_STATE = CloseReason(CloseCode.POLICY_VIOLATION, "one binary message is expected: the state of a stream")
STATE_LATE = CloseReason(CloseCode.POLICY_VIOLATION, "no state came")
IMPORT_BUSY = CloseReason(CloseCode.TRY_AGAIN_LATER, "busy")
IMPORT_REFUSED = CloseReason(CloseCode.POLICY_VIOLATION, "the state cannot be accepted")


class StateImport(Handler):
    """The handler of a connection that brings the state of one stream, and gets `ready` or `error` for it."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        scheduler: Scheduler,
        max_message_bytes: int,
        on_closed: Callable[[bool], None],
    ) -> None:
        """on_closed: called when the connection is gone, with whether the stream was imported."""
        self.max_message_bytes = max_message_bytes
        self._connection = connection
        self._stream = stream
        self._scheduler = scheduler
        self._on_closed = on_closed
        self._data = bytearray()
        self._is_complete = self._is_imported = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def on_open(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(STATE_TIMEOUT_S, self._connection.close, STATE_LATE)

    def on_data(self, frame: Frame) -> None:
        if self._is_complete:
            return
        if frame.opcode is Opcode.TEXT:
            self._is_complete = True
            self._connection.close(NO_STATE)
            return
        self._data += frame.data
        if frame.fin:
            self._is_complete = True
            self._cancel_timer()
            self._task = asyncio.create_task(self._import())

    def on_close(self) -> None:
        self._cancel_timer()
        self._on_closed(self._is_imported)

    def abandon(self, reason: CloseReason = SERVER_CLOSING) -> None:  # not finish: the scheduler may still reply
        self._connection.close(reason)

    async def _import(self) -> None:
        try:
            position = await asyncio.wrap_future(self._scheduler.import_state(self._stream, bytes(self._data)))
        except StreamtagError as error:
            self._send(Error(str(error), self._stream))
            self._connection.close(IMPORT_BUSY if isinstance(error, Busy) else IMPORT_REFUSED)
            return
        self._is_imported = True
        self._send(Ready(self._stream, position))
        self._connection.close(IMPORTED)

    def _send(self, message: Message) -> None:
        self._connection.send([message.to_json().encode()])

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
