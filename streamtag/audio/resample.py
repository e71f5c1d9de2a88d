"""Any sample rate and any number of channels become mono at the rate of the front end, chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from streamtag.audio.ring import Block
from streamtag.audio.source import AudioChunk, AudioGap, CaptureEvent
from streamtag.errors import SpecError

SAMPLE_RATE = 16000  # Hz, what the front end hears
MIN_RATE, MAX_RATE = (
    1000,
    4_000_000,
)  # Hz; a rate outside is a damaged header, and would ask soxr for absurd buffers
LIMIT = 8.0  # of full scale: float files may exceed 1 a little, but one stray 1e30 would ring for seconds


class Resampler:
    """Mean of the channels, then soxr ("HQ"), as a stream: how the input is cut does not change the output.

    Samples that are not finite become 0 (`repaired` counts them) and all are clipped to ±LIMIT, so that
    nothing poisons what follows. Mono input at the target rate passes through otherwise untouched.
    The number of channels may change from chunk to chunk. Owned by one thread.
    """

    def __init__(self, rate: int, target: int = SAMPLE_RATE) -> None:
        """rate, target: Hz. Raises SpecError if soxr could not sensibly convert one into the other."""
        for value in (rate, target):
            if not MIN_RATE <= value <= MAX_RATE:
                raise SpecError(f"a sample rate of {value} Hz: must lie between {MIN_RATE} and {MAX_RATE} Hz")
        self.rate = rate
        self.repaired = 0
        same = rate == target
        self._soxr = None if same else soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")

    def feed(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """chunk [n, channels] (or [n]) -> [m], what can be given out already; m may be 0."""
        if chunk.ndim not in (1, 2) or 0 in chunk.shape[1:]:
            raise ValueError(f"a chunk must be [samples, channels], not {list(chunk.shape)}")
        mono = self._mono(chunk)
        if self._soxr is None or not len(mono):
            return mono
        out: NDArray[np.float32] = self._soxr.resample_chunk(mono)
        return out

    def flush(self) -> NDArray[np.float32]:
        """-> [m], what was still owed. The next feed begins a new stream."""
        if self._soxr is None:
            return np.zeros(0, np.float32)
        out: NDArray[np.float32] = self._soxr.resample_chunk(np.zeros(0, np.float32), last=True)
        self._soxr.clear()
        return out

    def _mono(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, channels] -> [n], finite and bounded. Always a copy: the caller may reuse its buffer."""
        bad = ~np.isfinite(chunk)
        if bad.any():
            self.repaired += int(np.count_nonzero(bad))
            chunk = np.where(bad, np.float32(0), chunk)
        clean = np.clip(chunk, -LIMIT, LIMIT).astype(np.float32, copy=False)
        if clean.ndim == 1:
            return clean
        if clean.shape[1] == 1:
            return np.ascontiguousarray(clean[:, 0])
        # column by column: the same sum for every cut, and faster than a reduction over so short an axis
        total = clean[:, 0].copy()
        for channel in range(1, clean.shape[1]):
            total += clean[:, channel]
        total /= np.float32(clean.shape[1])
        return total


def as_mono_float32(samples: ArrayLike) -> NDArray[np.float32]:
    """-> [n], float32, contiguous, finite: a copy, since the caller may reuse its buffer."""
    audio = np.asarray(samples)
    if audio.ndim != 1:
        raise ValueError(f"samples must be one-dimensional (mono), not of shape {list(audio.shape)}")
    if audio.dtype.kind != "f":
        raise ValueError(f"samples must be floating-point numbers between -1 and 1, not {audio.dtype}")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes inf, and that 0
        audio = audio.astype(np.float32)
    audio[~np.isfinite(audio)] = 0
    return audio


AudioTap = Callable[[NDArray[np.float32], int], None]

MAX_SILENCE_S = 60.0  # s; most that a tap is given for one loss, so that a night without a device fills no disk
_SILENCE_S = 1.0  # s; and in slices, so that it needs no memory


class CaptureResampler:
    """Owned by the thread that takes. Pieces are put into `pieces`, for whoever takes them out.

    Position n of the device is position round(n * 16000 / rate) of the stream, however much was lost on the way:
    at a loss the resampler gives what it still holds, and begins anew behind it.

    tap: gets the mono samples [n] as they came, before resampling, with their rate, and zeros for what was lost
    (MAX_SILENCE_S of them at most for one loss). channel: which one is heard, from 0; None: the mean of all.
    """

    def __init__(
        self, rate: int, pieces: deque[CaptureEvent], tap: AudioTap | None = None, channel: int | None = None
    ) -> None:
        """rate: Hz, the device's. Raises SpecError if it makes no sense."""
        self.rate = rate
        self._pieces = pieces
        self._tap = tap
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
        if self._tap is not None:
            self._tap(mono, self.rate)
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
        self.tap_silence(samples / self.rate)

    def flush(self) -> None:
        """What the resampler still holds; what comes next begins anew."""
        tail = self._resampler.flush()
        owed = round(self._came * SAMPLE_RATE / self.rate) - self._gone
        self._heard(tail[: max(owed, 0)])

    def tap_silence(self, seconds: float) -> None:
        """Zeros in place of what was lost, for the tap only."""
        left = round(min(seconds, MAX_SILENCE_S) * self.rate)
        while self._tap is not None and left > 0:
            count = min(left, round(_SILENCE_S * self.rate))
            self._tap(np.zeros(count, np.float32), self.rate)
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
