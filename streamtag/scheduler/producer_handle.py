"""A producer's end of a stream: bytes go in, whenever they come."""

from __future__ import annotations

from collections.abc import Callable

from streamtag.scheduler.stream import ScheduledStream


class ProducerHandle:
    """One connection of a producer. Used by one thread at a time, as an event loop is; nothing here waits or computes.

    After end() or away() it takes nothing more.
    """

    def __init__(
        self,
        stream: ScheduledStream,
        clock: Callable[[], float],
        queue: Callable[[ScheduledStream, float], None],
        leave: Callable[[ScheduledStream], None],
    ) -> None:
        """queue: called when the stream is to be worked on; leave: when its producer has gone."""
        self._stream, self._inlet = stream, stream.inlet
        self._clock, self._queue, self._leave = clock, queue, leave
        self._over = False

    @property
    def position(self) -> int:
        """Samples of the producer (per channel, at its rate) that are taken so far: the place of the next."""
        return self._inlet.position

    @property
    def ended(self) -> bool:
        """The stream is over and its `end` told."""
        return self._stream.ended

    def push(self, data: bytes) -> bool:
        """The next bytes, cut anywhere. -> False: there is no room for more now, so read no more until woken().

        One who pushes on nevertheless loses the oldest sound, with a gap.
        """
        if self._over or self._stream.ended:
            return True
        now = self._clock()
        room, fired = self._inlet.push(data, now)
        if fired:
            self._queue(self._stream, now)
        return room

    def end(self) -> None:
        """The sound is over: what is owed is told, then `end`; then `ended` is true and woken() is called."""
        if not self._over:
            self._over = True
            if self._inlet.end():
                self._queue(self._stream, self._clock())

    def away(self) -> None:
        """The connection broke off: the stream waits for its producer, then ends by itself."""
        if not self._over:
            self._over = True
            self._leave(self._stream)
