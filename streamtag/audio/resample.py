"""Any sample rate and any number of channels become mono at the rate of the front end, chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamtag.audio.ring import Block
from streamtag.audio.source import NO_SAMPLES, AudioChunk, AudioGap, CaptureEvent
from streamtag.errors import SpecError

SAMPLE_RATE = 16000  # Hz, of the front end
MIN_RATE, MAX_RATE = 1000, 4_000_000  # Hz; outside is a damaged header, and would ask soxr for absurd buffers
MAX_AMPLITUDE = 8.0  # of full scale: float files may exceed 1 a little, but one stray 1e30 would ring for seconds
MAX_TAP_SILENCE_S = 60.0  # for one gap, so that a night without a device fills no disk
TAP_SLICE_S = 1.0  # of that silence at a time, so that it needs no memory

Samples = NDArray[np.float32]
AudioTap = Callable[[Samples, int], None]  # mono samples [n] and their rate


def as_mono_float32(samples: ArrayLike) -> Samples:
    """Return a finite, contiguous copy [n]: the caller may reuse its buffer. Raises ValueError."""
    audio = np.asarray(samples)
    if audio.ndim != 1:
        raise ValueError(f"samples must be one-dimensional (mono), not of shape {list(audio.shape)}")
    if audio.dtype.kind != "f":
        raise ValueError(f"samples must be floating-point numbers between -1 and 1, not {audio.dtype}")
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes inf, and that 0
        audio = audio.astype(np.float32)
    audio[~np.isfinite(audio)] = 0
    return audio


class Resampler:
    """The mean of the channels, then soxr ("HQ"), as a stream: how the input is cut does not change the output.

    Samples that are not finite become 0 (`repaired` counts them) and all are clipped to ±MAX_AMPLITUDE, so that
    nothing poisons what follows. Mono input at the target rate is otherwise unchanged.
    The number of channels may change from chunk to chunk. Owned by one thread.
    """

    def __init__(self, rate: int, target: int = SAMPLE_RATE) -> None:
        """rate, target: Hz. Raises SpecError if soxr could not sensibly convert one into the other."""
        for value in (rate, target):
            if not MIN_RATE <= value <= MAX_RATE:
                raise SpecError(f"a sample rate of {value} Hz: must lie between {MIN_RATE} and {MAX_RATE} Hz")
        self.rate = rate
        self.repaired = 0
        self._soxr: Any = None
        if rate != target:
            import soxr  # late: audio at the target rate does not need it

            self._soxr = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")

    def feed(self, chunk: Samples) -> Samples:
        """Return what can be output after the next chunk [n, channels] or [n]: [m], m >= 0."""
        if chunk.ndim not in (1, 2) or 0 in chunk.shape[1:]:
            raise ValueError(f"a chunk must be [samples, channels], not {list(chunk.shape)}")
        return self.resample(mix(self.repair(chunk)))

    def repair(self, chunk: Samples) -> Samples:
        """Return the chunk with 0 for what is not finite. The first step of `feed`."""
        bad = ~np.isfinite(chunk)
        if not bad.any():
            return chunk
        self.repaired += int(np.count_nonzero(bad))
        return np.where(bad, np.float32(0), chunk)

    def resample(self, mono: Samples) -> Samples:
        """Return what can be output after the next mixed samples [n]. The last step of `feed`."""
        if self._soxr is None or not len(mono):
            return mono
        out: Samples = self._soxr.resample_chunk(mono)
        return out

    def flush(self) -> Samples:
        """Return the output that was held back, [m]. The next feed begins a new stream."""
        if self._soxr is None:
            return NO_SAMPLES
        out: Samples = self._soxr.resample_chunk(NO_SAMPLES, last=True)
        self._soxr.clear()
        return out


def mix(chunk: Samples) -> Samples:
    """Return the bounded mean [n] of finite [n, channels] or [n]. Always a copy: the caller may reuse its buffer."""
    bounded = np.clip(chunk, -MAX_AMPLITUDE, MAX_AMPLITUDE).astype(np.float32, copy=False)
    if bounded.ndim == 1:
        return bounded
    if bounded.shape[1] == 1:
        return np.ascontiguousarray(bounded[:, 0])
    # column by column: the same sum for every cut, and faster than a reduction over so short an axis
    total = bounded[:, 0].copy()
    for channel in range(1, bounded.shape[1]):
        total += bounded[:, channel]
    total /= np.float32(bounded.shape[1])
    return total


class CaptureResampler:
    """Turns the blocks of one input into events: mono, at 16 kHz, every sample in its place.

    Sample n of the input is sample round(n * 16000 / rate) of the stream, however much was lost before: at a gap the
    resampler is flushed, and begins anew behind it. Owned by the thread that reads.

    tap: gets the mono samples before resampling, and zeros for a gap (at most max_tap_silence_s). channel: the one to
    use, from 0; None: the mean of all. peak: of the newest block, over all its channels.
    """

    def __init__(
        self,
        rate: int,
        tap: AudioTap | None = None,
        channel: int | None = None,
        max_tap_silence_s: float = MAX_TAP_SILENCE_S,
    ) -> None:
        """rate: Hz, of the input. Raises SpecError if it makes no sense."""
        self.rate = rate
        self.peak = 0.0
        self._tap = tap
        self._channel = channel
        self._max_tap_silence_s = max_tap_silence_s
        self._resampler = Resampler(rate)
        self._input_position = 0  # samples of the input, gaps included
        self._output_position = 0  # samples of the stream, likewise
        self._arrivals: deque[tuple[int, float]] = deque()  # input positions, and when they were reached
        self._chunk_peak = 0.0  # of what has not come out of the resampler yet

    @property
    def repaired(self) -> int:
        """Samples that were not finite, and count as 0."""
        return self._resampler.repaired

    def feed(self, block: Block) -> list[CaptureEvent]:
        """Return what the next block, and the loss before it, make ready."""
        events = self.insert_gap(block.lost) if block.lost else []
        samples = self._resampler.repair(block.samples)
        self.peak = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))
        mono = mix(samples if self._channel is None else samples[:, self._channel])
        if self._tap is not None:
            self._tap(mono, self.rate)
        self._input_position += len(mono)
        self._arrivals.append((self._input_position, block.arrival_time))
        self._chunk_peak = max(self._chunk_peak, self.peak)
        return events + self._chunk(self._resampler.resample(mono))

    def insert_gap(self, samples: int) -> list[CaptureEvent]:
        """So many samples of the input, more than 0, are missing here."""
        events = self.flush()
        self._input_position += samples
        lost = self._due()
        if lost > 0:
            self._output_position += lost
            events.append(AudioGap(lost))
        self.tap_silence(samples / self.rate)
        return events

    def flush(self) -> list[CaptureEvent]:
        """Return what the resampler held back; what comes next begins anew."""
        return self._chunk(self._resampler.flush()[: max(self._due(), 0)])

    def tap_silence(self, seconds: float) -> None:
        """Give the tap zeros in place of what is missing."""
        remaining = round(min(seconds, self._max_tap_silence_s) * self.rate)
        while self._tap is not None and remaining > 0:
            count = min(remaining, round(TAP_SLICE_S * self.rate))
            self._tap(np.zeros(count, np.float32), self.rate)
            remaining -= count

    def _due(self) -> int:
        """Samples by which the stream is behind the input."""
        return round(self._input_position * SAMPLE_RATE / self.rate) - self._output_position

    def _chunk(self, samples: Samples) -> list[CaptureEvent]:
        """Its newest sample arrived with the block that contains it, which need not be the newest block."""
        if not len(samples):
            return []
        self._output_position += len(samples)
        while len(self._arrivals) > 1 and self._arrivals[0][0] * SAMPLE_RATE < self._output_position * self.rate:
            self._arrivals.popleft()
        chunk = AudioChunk(samples, self._arrivals[0][1], self._chunk_peak)
        self._chunk_peak = 0.0
        return [chunk]
