"""One stream of a batch on its way to the network: samples in, whole hops out, and which frames these give."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamtag.audio.resample import as_mono_float32
from streamtag.errors import SpecError
from streamtag.inference.frame import TagFrame
from streamtag.spec import ScatteringSpec

RECEPTIVE_FIELD_HOPS = 8  # hops of silence after which the front end remembers nothing else


@dataclass(frozen=True)
class Skip:
    """So many hops are passed over: of silence, where nothing would change, or of sound that nobody has time for."""

    hops: int


@dataclass(frozen=True)
class Forget:
    """The network forgets here what it heard."""


Step = NDArray[np.float32] | Skip | Forget


@dataclass(frozen=True)
class HopBufferState:
    """Where a stream stands between two hops. Samples and frames are counted from its start.

    pending [n], n < hop: samples that do not fill a hop yet; lost: first sample and end of what is missing while
    its frames have not passed.
    """

    samples: int
    frames: int
    begun: bool
    pending: NDArray[np.float32]
    lost: tuple[tuple[int, int], ...] = ()

    def numbers(self) -> dict[str, Any]:
        """All but the samples, for JSON."""
        return {"samples": self.samples, "frames": self.frames, "begun": self.begun, "lost": [*map(list, self.lost)]}

    @classmethod
    def of(cls, numbers: Any, pending: NDArray[np.float32]) -> HopBufferState:
        """The opposite. Raises SpecError for anything that no stream can have come to."""
        try:
            samples, frames, begun, lost = (numbers[name] for name in ("samples", "frames", "begun", "lost"))
            pairs = tuple((start, end) for start, end in lost)
        except (KeyError, TypeError, ValueError):
            raise SpecError("a stream's state is damaged: its numbers") from None
        whole = all(type(n) is int and n >= 0 for n in (samples, frames, *(n for pair in pairs for n in pair)))
        if not whole or type(begun) is not bool or any(start >= end or end > samples for start, end in pairs):
            raise SpecError("a stream's state is damaged: its numbers")
        return cls(samples, frames, begun, as_mono_float32(pending), pairs)


class HopBuffer:
    """Frame k is centred at sample hop·k and complete once a look-ahead of 1.5 hops has come behind it, so a hop ends
    half a hop after a multiple of the hop. Owned by one thread at a time.
    """

    def __init__(self, spec: ScatteringSpec, state: HopBufferState | None = None) -> None:
        """state: where to go on; None: a new stream. Raises SpecError if more samples wait in it than a hop has."""
        state = state or HopBufferState(0, 0, False, np.zeros(spec.hop // 2, np.float32))
        if len(state.pending) >= spec.hop:
            raise SpecError("a stream's state is damaged: more samples wait than a hop has")
        self.samples = state.samples  # fed so far, losses included
        self.ended = False
        self.ready = 0  # hops that wait
        self._spec, self._hop = spec, spec.hop
        self._frames = state.frames
        self._begun = state.begun  # a hop was done
        self._lost = list(state.lost)
        self._steps: deque[Step] = deque()
        self._parts = [state.pending]
        self._pending = len(state.pending)  # samples in them

    def feed(self, samples: ArrayLike) -> None:
        """samples [n], any n >= 0. Raises ValueError if they are no samples, or the stream has ended."""
        self._check_open()
        audio = as_mono_float32(samples)
        self.samples += len(audio)
        self._push(audio)

    def insert_gap(self, samples: int) -> None:
        """Silence of this length in place of what was lost; a long one costs no more than a short one."""
        self._check_open()
        if samples <= 0:
            raise ValueError(f"a loss must have more than {samples} samples")
        self._lost.append((self.samples, self.samples + samples))
        self.samples += samples
        skipped = max(0, samples // self._hop - RECEPTIVE_FIELD_HOPS)
        self._push(np.zeros(samples - skipped * self._hop, np.float32))
        if skipped:
            self._steps.append(Skip(skipped))

    def skip_hops(self, hops: int) -> None:
        """hops > 0 of sound are passed over unheard, and cost nothing: what comes before meets what comes after.

        No frame is given whose centre lies in them, nor those before that still waited for sound behind them.
        """
        self._check_open()
        if hops <= 0:
            raise ValueError(f"more than {hops} hops must be skipped")
        self._lost.append((self.samples, self.samples + hops * self._hop))
        self.samples += hops * self._hop
        self._steps.append(Skip(hops))

    def reset_context(self) -> None:
        """From here on."""
        self._steps.append(Forget())

    def end(self) -> None:
        """The frames whose centres lie inside the stream and that still wait get silence to be complete with."""
        if self.ended:
            return
        self.ended = True
        half = self._hop // 2
        if self._begun or self.ready or self._pending > half:
            owed = 2 if self._pending > half else 1
            self._push(np.zeros(owed * self._hop - self._pending, np.float32))

    def next_hop(self) -> tuple[NDArray[np.float32] | None, bool]:
        """-> the next hop (None if none is complete), and whether to forget before it."""
        forget = False
        while self._steps:
            step = self._steps.popleft()
            if isinstance(step, Skip):
                self._frames += step.hops
            elif isinstance(step, Forget):
                forget = True
            else:
                self.ready -= 1
                return step, forget
        return None, forget

    def complete_hop(self, probs: NDArray[np.float32]) -> list[TagFrame]:
        """probs [tags]: what the network made of the hop taken last -> its frame, if it stands for sound that came."""
        if not self._begun:  # a hop that only fills the look-ahead
            self._begun = True
            return []
        index, centre = self._frames, self._frames * self._hop
        self._frames += 1
        missing = any(start <= centre < end for start, end in self._lost)
        if self._lost:
            self._lost = [(start, end) for start, end in self._lost if end > centre + self._hop]
        return [] if missing else [TagFrame.at(index, self._spec, probs)]

    def state(self) -> HopBufferState:
        """Raises ValueError while hops wait, or if the stream has ended."""
        self._check_open()
        if self._steps:
            raise ValueError("a stream's state can be taken only when all its hops are done")
        pending = np.concatenate(self._parts)
        return HopBufferState(self.samples, self._frames, self._begun, pending, tuple(self._lost))

    def _check_open(self) -> None:
        if self.ended:
            raise ValueError("the stream has ended: reset() begins another")

    def _push(self, audio: NDArray[np.float32]) -> None:
        if not len(audio):
            return
        self._parts.append(audio)
        self._pending += len(audio)
        whole = self._pending // self._hop
        if whole:
            together = np.concatenate(self._parts)
            self._steps.extend(together[: whole * self._hop].reshape(whole, self._hop))
            self.ready += whole
            rest = together[whole * self._hop :].copy()
            self._parts, self._pending = [rest], len(rest)
