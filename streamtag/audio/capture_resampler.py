"""Blocks of one device become pieces of the stream: mono, at 16 kHz, every sample in its place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.resample import SAMPLE_RATE, Resampler
from streamtag.audio.ring import Block
from streamtag.audio.source import AudioChunk, AudioGap, CaptureEvent

AudioTap = Callable[[NDArray[np.float32], int], None]

MAX_SILENCE_S = 60.0  # s; most that a tee is given for one loss, so that a night without a device fills no disk
_SILENCE_S = 1.0  # s; and in slices, so that it needs no memory


class CaptureResampler:
    """Owned by the thread that takes. Pieces are put into `pieces`, for whoever takes them out.

    Position n of the device is position round(n * 16000 / rate) of the stream, however much was lost on the way:
    at a loss the resampler gives what it still holds, and begins anew behind it.

    tee: gets the mono samples [n] as they came, before resampling, with their rate, and zeros for what was lost
    (MAX_SILENCE_S of them at most for one loss). channel: which one is heard, from 0; None: the mean of all.
    """

    def __init__(
        self, rate: int, pieces: deque[CaptureEvent], tee: AudioTap | None = None, channel: int | None = None
    ) -> None:
        """rate: Hz, the device's. Raises SpecError if it makes no sense."""
        self.rate = rate
        self._pieces = pieces
        self._tee = tee
        self._channel = channel
        self._mixer = Resampler(rate, rate)  # mono, finite and bounded
        self._resampler = Resampler(rate)
        self._came = 0  # samples of the device, those that were lost included
        self._gone = 0  # samples of the stream, likewise
        self._arrivals: deque[tuple[int, float]] = deque()  # up to which sample of the device came when
        self._peak = 0.0  # of what the resampler has not given back yet

    def take(self, block: Block) -> None:
        """The next block, and the loss before it."""
        if block.lost:
            self.lose(block.lost)
        chosen = block.samples if self._channel is None else block.samples[:, self._channel]
        mono = self._mixer.feed(chosen)
        if self._tee is not None:
            self._tee(mono, self.rate)
        self._came += len(mono)
        self._arrivals.append((self._came, block.arrived))
        self._peak = max(self._peak, peak_of(block.samples))
        self._heard(self._resampler.feed(mono))

    def lose(self, samples: int) -> None:
        """samples of the device, more than 0, are missing here."""
        self.flush()
        self._came += samples
        lost = round(self._came * SAMPLE_RATE / self.rate) - self._gone
        if lost > 0:
            self._gone += lost
            self._pieces.append(AudioGap(lost))
        self.tee_silence(samples / self.rate)

    def flush(self) -> None:
        """What the resampler still holds; what comes next begins anew."""
        tail = self._resampler.flush()
        owed = round(self._came * SAMPLE_RATE / self.rate) - self._gone
        self._heard(tail[: max(owed, 0)])

    def tee_silence(self, seconds: float) -> None:
        """Zeros in place of what was lost, for the tee only."""
        left = round(min(seconds, MAX_SILENCE_S) * self.rate)
        while self._tee is not None and left > 0:
            count = min(left, round(_SILENCE_S * self.rate))
            self._tee(np.zeros(count, np.float32), self.rate)
            left -= count

    @property
    def repaired(self) -> int:
        """Samples that were no finite numbers, and count as 0."""
        return self._mixer.repaired

    def _heard(self, samples: NDArray[np.float32]) -> None:
        """Their newest came with the block that holds it, which need not be the newest block."""
        self._gone += len(samples)
        if not len(samples):
            return
        while len(self._arrivals) > 1 and self._arrivals[0][0] * SAMPLE_RATE < self._gone * self.rate:
            self._arrivals.popleft()
        self._pieces.append(AudioChunk(samples, self._arrivals[0][1], self._peak))
        self._peak = 0.0


def peak_of(samples: NDArray[np.float32]) -> float:
    """The largest absolute value among those that are numbers; 0 if there are none."""
    return float(np.abs(samples).max(where=np.isfinite(samples), initial=0.0))
