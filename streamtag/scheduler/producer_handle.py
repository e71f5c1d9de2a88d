"""A producer's end of a stream."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamtag.scheduler.stream import OnWritable, ScheduledStream

log = logging.getLogger("streamtag.scheduler")


class ProducerHandle:
    """One connection of a producer. Used by one thread at a time, such as an event loop; nothing waits or computes.

    After end() or disconnect() it does nothing more.
    """

    def __init__(
        self,
        stream: ScheduledStream,
        clock: Callable[[], float],
        on_disconnect: Callable[[ScheduledStream], None],
    ) -> None:
        self._stream, self._buffer, self._clock, self._on_disconnect = stream, stream.buffer, clock, on_disconnect
        self._is_closed = False

    @property
    def position(self) -> int:
        """Samples of the producer (per channel, at its rate) so far: the position of the next."""
        return self._buffer.position

    @property
    def has_ended(self) -> bool:
        """The stream's `end` is published."""
        return self._stream.has_ended

    def push(self, data: bytes, recorded: float | None = None) -> bool:
        """Append bytes, cut anywhere. Return False if there is no room for more before on_writable is called; a
        producer that pushes on nevertheless loses its oldest audio, which is reported as a gap.

        recorded: when the last of them was recorded, by the scheduler's clock; None: now."""
        return self._is_closed or self._buffer.push(data, self._clock(), recorded)

    def skip(self, samples: int) -> None:
        """Report that this many samples, more than 0, are missing here."""
        if not self._is_closed:
            self._buffer.skip(samples, self._clock())

    def reset_context(self) -> None:
        """Reset the network's recurrent state after what was pushed so far; the stream continues."""
        if not self._is_closed:
            self._buffer.reset_context(self._clock())

    def end(self) -> None:
        """End the audio. What waits is processed, then `end` is published and on_writable called."""
        if not self._is_closed:
            self._is_closed = True
            self._buffer.end_input(self._clock())

    def disconnect(self) -> None:
        """The connection broke: the stream waits for its producer to return, then ends by itself."""
        if not self._is_closed:
            self._is_closed = True
            self._on_disconnect(self._stream)


def notify_writable(on_writable: OnWritable | None) -> None:
    """Call back, if there is a connection. An event loop that is closed already raises."""
    try:
        if on_writable is not None:
            on_writable()
    except Exception:
        log.exception("a producer could not be notified")
