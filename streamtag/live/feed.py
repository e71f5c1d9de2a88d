"""A producer's end of a stream: bytes go in, whenever they come."""

from __future__ import annotations


class Feed:
    """Used by one thread at a time, as an event loop is. Nothing here waits or computes."""

    @property
    def position(self) -> int:
        """Samples of the producer (per channel, at its rate) that are taken so far: the place of the next."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        """The stream is over and its `end` told; or it went to another server, or the engine was closed."""
        raise NotImplementedError

    def push(self, data: bytes) -> bool:
        """The next bytes, cut anywhere. -> False: there is no room for more now, so read no more until woken()."""
        raise NotImplementedError

    def end(self) -> None:
        """The sound is over: what is owed is told, then `end`; then `ended` is true and woken() is called."""
        raise NotImplementedError

    def away(self) -> None:
        """The connection broke off: the stream waits for its producer, then ends by itself."""
        raise NotImplementedError
