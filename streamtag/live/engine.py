"""Many live streams in one batch: the engine room of a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Self

from streamtag.live.engine_spec import EngineSpec
from streamtag.live.feed import Feed
from streamtag.live.load import Load, NoObserver, Observer, StreamLoad
from streamtag.live.pcm import PcmFormat
from streamtag.message import Message

if TYPE_CHECKING:
    from streamtag.live.pool import SessionPool

Tell = Callable[[Sequence[Message]], None]


class Engine:
    """A context manager: entering measures the capacity (EngineSpec.measure_s) and starts the workers, leaving ends
    all streams, tells their `end` messages, and ends the workers.

    tell: gets the messages of one step, all tags in them, in each stream's order. It is called by the workers,
    several at once (never for one stream), and must not wait. The pool is the engine's alone.
    """

    def __init__(
        self,
        pool: SessionPool,
        tags: Sequence[str],
        thresholds: Sequence[float],
        tell: Tell,
        spec: EngineSpec,
        model: str = "",
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """model: fingerprint of the weights; an exported stream is adopted only by an engine with the same."""

    def open(self, name: str, format: PcmFormat, position: int | None, woken: Callable[[], None]) -> Feed:
        """At once, from any thread: a new stream, or a kept one of that name goes on.

        position: the producer's own count of the sample that comes first (of a stream that goes on; a new one begins
        at 0 whatever it says); None: it does not count, and what is missing is told by the clock. woken: called from a
        worker when there is room again, or the stream has ended. Raises Busy, NameTaken, or SpecError.
        """
        raise NotImplementedError

    def state(self, name: str) -> Future[bytes]:
        """A stream as it stands, to go on elsewhere: safetensors. It goes on here as well. Raises UnknownStream."""
        raise NotImplementedError

    def adopt(self, name: str, data: bytes) -> Future[int]:
        """-> the position from which its producer must send it; until it comes the stream is away.

        Raises Busy or NameTaken at once; the future raises SpecError if the bytes are no stream of this model.
        """
        raise NotImplementedError

    @property
    def load(self) -> Load:
        raise NotImplementedError

    @property
    def streams(self) -> tuple[StreamLoad, ...]:
        """All that have a place, in the order in which they came."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError
