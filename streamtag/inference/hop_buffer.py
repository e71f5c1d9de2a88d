"""One stream of a batch on its way to the network: samples in, whole hops out, and the frames that they give."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamtag.audio.resample import as_mono_float32
from streamtag.errors import SpecError
from streamtag.inference.frame import StreamPosition, TagFrame
from streamtag.spec import FrontEndSpec


@dataclass(frozen=True)
class HopBufferState:
    """The position of a stream between two hops. Samples and frames are counted from its start.

    has_started: a hop was completed; pending [n], n < hop: samples that do not fill a hop yet; gaps: first sample and
    end of those that later frames can lie in.
    """

    samples: int
    frames: int
    has_started: bool
    pending: NDArray[np.float32]
    gaps: tuple[tuple[int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything but the samples."""
        gaps = [[start, end] for start, end in self.gaps]
        return {"samples": self.samples, "frames": self.frames, "begun": self.has_started, "lost": gaps}

    @classmethod
    def from_json(cls, values: Any, pending: NDArray[np.float32]) -> Self:
        """Restore a state. Raises SpecError for values that no stream can reach."""
        try:
            samples, frames, has_started, gaps = (values[name] for name in ("samples", "frames", "begun", "lost"))
            pairs = tuple((start, end) for start, end in gaps)
        except (KeyError, TypeError, ValueError):
            raise SpecError("a stream's state is damaged: its numbers") from None
        whole = all(type(n) is int and n >= 0 for n in (samples, frames, *(n for pair in pairs for n in pair)))
        if not whole or type(has_started) is not bool or any(start >= end or end > samples for start, end in pairs):
            raise SpecError("a stream's state is damaged: its numbers")
        return cls(samples, frames, has_started, pending, pairs)


@dataclass(frozen=True)
class SkipHops:
    """Frame numbers advance by so many hops, which the network never sees."""

    hops: int


@dataclass(frozen=True)
class ResetContext:
    """The network's recurrent state is reset before the next hop."""


class HopBuffer:
    """Cut the samples of one stream into hops and number the frames. Used by one thread at a time.

    Frame k is centred at sample hop·k and complete after a look-ahead of 1.5 hops, so a hop ends half a hop after
    a multiple of the hop: the stream begins with half a hop of silence, and its first hop gives no frame.
    """

    def __init__(self, spec: FrontEndSpec, state: HopBufferState | None = None) -> None:
        """Begin a stream, or continue the one with this state. Raises SpecError if it has a whole hop pending."""
        state = state or HopBufferState(0, 0, False, np.zeros(spec.hop // 2, np.float32))
        if len(state.pending) >= spec.hop:
            raise SpecError("a stream's state is damaged: more samples wait than a hop has")
        self.ready_hops = 0  # that wait for a step
        self._position = StreamPosition(spec, state.samples, state.frames, state.gaps)
        self._hop = spec.hop
        self._has_started = state.has_started
        self._queue: deque[NDArray[np.float32] | SkipHops | ResetContext] = deque()
        self._parts = [state.pending]
        self._pending = len(state.pending)  # samples in _parts

    @property
    def seconds(self) -> float:
        """Length of the stream so far in seconds, gaps included."""
        return self._position.seconds

    @property
    def is_finished(self) -> bool:
        """True if the stream was flushed and all its frames were returned."""
        return self._position.has_ended and not self.ready_hops

    def feed(self, samples: ArrayLike) -> None:
        """Append samples [n], as Session.feed. Raises ValueError if they are no mono floats, or after the end."""
        self._position.check_open()
        audio = as_mono_float32(samples)
        self._position.samples += len(audio)
        self._push(audio)

    def insert_gap(self, samples: int) -> None:
        """Append a gap of lost audio, samples > 0, as Session.insert_gap. Raises ValueError."""
        silence, skipped = self._position.insert_gap(samples)
        self._push(np.zeros(silence, np.float32))
        if skipped:
            self._queue.append(SkipHops(skipped))

    def skip_hops(self, hops: int) -> None:
        """Pass over hops > 0 of audio at no cost: the audio before them is joined to the audio after them.

        Frames whose centres lie in them are left out, and so are those that still waited for audio before them.
        Their time counts. Raises ValueError as insert_gap.
        """
        self._position.insert_gap(hops * self._hop)
        self._queue.append(SkipHops(hops))

    def reset_context(self) -> None:
        """Reset the network's recurrent state after what was fed so far, as Session.reset_context."""
        self._queue.append(ResetContext())

    def flush(self) -> None:
        """End the stream: the next steps return the frames with centres inside it, completed by silence."""
        if self._position.has_ended:
            return
        self._position.has_ended = True
        half = self._hop // 2
        if self._has_started or self.ready_hops or self._pending > half:
            missing_hops = 2 if self._pending > half else 1
            self._push(np.zeros(missing_hops * self._hop - self._pending, np.float32))

    def next_hop(self) -> tuple[NDArray[np.float32] | None, bool]:
        """Return the next hop, or None if none is complete, and whether the context must be reset before it."""
        must_reset = False
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, SkipHops):
                self._position.frames += item.hops
            elif isinstance(item, ResetContext):
                must_reset = True
            else:
                self.ready_hops -= 1
                return item, must_reset
        return None, must_reset

    def complete_hop(self, probs: NDArray[np.float32], concept_probs: NDArray[np.float32]) -> list[TagFrame]:
        """Return the frame, if any, of the last hop taken, for which the network gave probs [tags] and [concepts]."""
        if not self._has_started:  # this hop only filled the look-ahead
            self._has_started = True
            return []
        frame = self._position.next_frame(probs, concept_probs)
        return [] if frame is None else [frame]

    def export_position(self) -> HopBufferState:
        """Return the position when nothing is queued. Raises ValueError if the stream has ended."""
        self._position.check_open()
        position, pending = self._position, np.concatenate(self._parts)
        return HopBufferState(position.samples, position.frames, self._has_started, pending, position.gaps)

    def _push(self, audio: NDArray[np.float32]) -> None:
        if not len(audio):
            return
        self._parts.append(audio)
        self._pending += len(audio)
        whole = self._pending // self._hop
        if whole:
            joined = np.concatenate(self._parts)
            self._queue.extend(joined[: whole * self._hop].reshape(whole, self._hop))
            self.ready_hops += whole
            tail = joined[whole * self._hop :].copy()
            self._parts, self._pending = [tail], len(tail)
