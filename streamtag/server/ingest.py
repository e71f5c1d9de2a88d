"""Producers: audio from a socket to the scheduler, and the messages of its stream back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

from websockets.frames import CloseCode, Frame, Opcode

from streamtag.protocol.messages import End, Ready
from streamtag.protocol.queues import EncodedMessage
from streamtag.scheduler.producer_handle import ProducerHandle
from streamtag.server.config import IngestConfig, ServerConfig
from streamtag.server.connections import CloseReason, Connection
from streamtag.server.hub import Hub
from streamtag.server.metrics import Metrics
from streamtag.server.query import IngestQuery
from streamtag.server.subscriber import MessageSender

RECEIVE_BUFFER_BYTES = 65536  # in the kernel: a producer that has to wait is not far ahead, and no read is long
MAX_TEXT_BYTES = 256  # what a producer may say is far shorter
MAX_MESSAGE_RATE = 1000.0  # messages per second of one producer; a browser's smallest blocks of 128 samples are 375
MAX_BURST = 2000.0  # messages at once

ENDED = CloseReason(CloseCode.NORMAL_CLOSURE, "the stream has ended")
BAD_TEXT = CloseReason(CloseCode.POLICY_VIOLATION, 'producers say nothing but {"type":"end"}')
SILENT = CloseReason(CloseCode.POLICY_VIOLATION, "no sound")
REPLACED = CloseReason(CloseCode.POLICY_VIOLATION, "the stream came back by another connection")


class TokenBucket:
    """A limit on the messages of one producer: a producer that sends very many short ones has to wait."""

    def __init__(self, now: float) -> None:
        """now: s, by any clock."""
        self._tokens = MAX_BURST
        self._updated = now

    def spend(self, now: float) -> float:
        """Count one message. Return for how long no more should be read, s; mostly 0."""
        self._tokens = min(MAX_BURST, self._tokens + (now - self._updated) * MAX_MESSAGE_RATE) - 1
        self._updated = now
        return 0.0 if self._tokens >= 0 else (MAX_BURST / 2 - self._tokens) / MAX_MESSAGE_RATE


class IngestConnection(MessageSender):
    """The handler of one producer's connection.

    Audio is pushed to the scheduler as it is read. The stream's messages are sent back, and may be left unread.
    """

    reads_while_blocked = True

    def __init__(
        self,
        connection: Connection,
        query: IngestQuery,
        hub: Hub,
        config: IngestConfig,
        server_config: ServerConfig,
        metrics: Metrics,
        on_release: Callable[[IngestConnection], None],
        on_closed: Callable[[bool], None],
    ) -> None:
        """on_release: called when its stream is free for another connection.

        on_closed: called when the connection is gone, with whether the stream waits for another.
        """
        super().__init__(connection, query.message_filter, server_config.queue_length, metrics)
        self.query = query
        self.address = connection.address
        self.max_message_bytes = config.max_message_bytes
        self._hub = hub
        self._config = config
        self._drain_timeout_s = server_config.stall_timeout_s
        self._on_release = on_release
        self._on_closed = on_closed
        self._producer: ProducerHandle | None = None  # until it is released
        self._token_bucket = TokenBucket(self._loop.time())
        self._last_audio = self._loop.time()  # when audio came last, or could have come again
        self._text: bytearray | None = None  # of a message in parts
        self._is_full = self._is_throttled = False  # reasons to read nothing
        self._has_ended = False
        self._stream_waits = False  # for another connection
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by purpose

    @property
    def is_stale(self) -> bool:
        """No audio has come for long, although it could have."""
        silent_s = self._loop.time() - self._last_audio
        return not (self._is_paused or self._has_ended) and silent_s > self._config.stale_after_s

    @property
    def _is_paused(self) -> bool:
        return self._is_full or self._is_throttled

    def notify_writable(self) -> None:
        """From any thread: the scheduler accepts audio again, or the stream has ended."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._resume)

    def begin(self, producer: ProducerHandle) -> None:
        """producer: where the audio goes from now on."""
        self._producer = producer
        self._hub.attach(self, self.query.stream)
        self._check_silence()

    def close(self, reason: CloseReason) -> None:
        """Close the connection; unless the stream has ended, it waits for another connection."""
        self._release()
        self.abandon(reason)

    # --- as a handler ------------------------------------------------------------------------------------------------

    def on_open(self) -> None:
        self._connection.limit_receive_buffer(RECEIVE_BUFFER_BYTES)
        position = 0 if self._producer is None else self._producer.position
        self.send_first([EncodedMessage(self._hub.hello), EncodedMessage(Ready(self.query.stream, position))])

    def on_data(self, frame: Frame) -> None:
        if self._producer is None or self._has_ended:
            return
        if frame.opcode is Opcode.TEXT or self._text is not None:
            self._receive_text(frame)
        elif frame.data:
            self._last_audio = now = self._loop.time()
            data = frame.data if isinstance(frame.data, bytes) else bytes(frame.data)
            has_room = self._producer.push(data)
            wait_s = self._token_bucket.spend(now)
            if not has_room or wait_s:
                self._pause(is_full=not has_room, wait_s=wait_s)

    def on_close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._hub.detach(self, self.query.stream)
        self._release()
        self._on_closed(self._stream_waits)

    # --- as a listener of the hub ------------------------------------------------------------------------------------

    def offer(self, encoded: EncodedMessage) -> None:
        super().offer(encoded)
        if isinstance(encoded.message, End):
            self._end()

    # --- internal ----------------------------------------------------------------------------------------------------

    def _receive_text(self, frame: Frame) -> None:
        self._text = self._text or bytearray()
        self._text += frame.data
        if len(self._text) > MAX_TEXT_BYTES:
            self.close(BAD_TEXT)
        elif frame.fin:
            text, self._text = bytes(self._text), None
            if not _is_end(text):
                self.close(BAD_TEXT)
            elif self._producer is not None:
                self._has_ended = True
                self._producer.end()

    def _pause(self, is_full: bool, wait_s: float) -> None:
        self._connection.pause_reading()
        self._is_full |= is_full
        if wait_s and not self._is_throttled:
            self._is_throttled = True
            self._call_later("throttle", wait_s, self._unthrottle)

    def _unthrottle(self) -> None:
        self._is_throttled = False
        self._read_on()

    def _resume(self) -> None:
        self._is_full = False
        if self._producer is not None and self._producer.has_ended:
            # Its `end` is on the way here, unless the scheduler was closed before it could publish one.
            self._call_later("end", self._drain_timeout_s, self._end)
        self._read_on()

    def _read_on(self) -> None:
        if not self._is_paused:
            self._last_audio = self._loop.time()
            self._connection.resume_reading()

    def _end(self) -> None:
        """The stream is over: send what waits, but not for ever."""
        self._has_ended = True
        self._release()
        self.finish(ENDED)
        self._call_later("drain", self._drain_timeout_s, lambda: self.abandon(ENDED))

    def _release(self) -> None:
        """Give up the stream. It waits for another connection, unless it has ended or is about to."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if not (self._has_ended or producer.has_ended):
            producer.disconnect()
            self._stream_waits = True
        self._on_release(self)

    def _check_silence(self) -> None:
        """Close the connection when no audio has come for too long."""
        silent_s = 0.0 if self._is_paused or self._has_ended else self._loop.time() - self._last_audio
        if silent_s >= self._config.idle_timeout_s:
            self._metrics.silent.inc()
            self.close(SILENT)
        else:
            self._call_later("silence", self._config.idle_timeout_s - silent_s, self._check_silence)

    def _call_later(self, purpose: str, seconds: float, callback: Callable[[], None]) -> None:
        """Call it unless the connection is gone by then; replaces an earlier timer for the same purpose."""
        if purpose in self._timers:
            self._timers[purpose].cancel()
        self._timers[purpose] = self._loop.call_later(seconds, callback)


def _is_end(text: bytes) -> bool:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and message.get("type") == "end"
