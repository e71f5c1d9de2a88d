"""From the bytes of one producer to mono samples at 16 kHz, each at its place in the stream."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.pcm import PcmFormat
from streamtag.audio.resample import SAMPLE_RATE, Resampler
from streamtag.errors import SpecError

PRIMING_S, MIN_PRIMING = 0.1, 2048  # s and samples; soxr remembers at most half of that at any rate (measured)
GRID_SEARCH = 1024  # samples among which one is found that lies on the 16 kHz grid, or nearly
MAX_SAMPLES = 1 << 50  # no stream is longer
PROBE_S, PROBE_STEP_S, PROBE_BLOCKS = 2.5, 0.0005, 6  # silence that shows soxr's blocks; they last up to a second
EMPTY = np.zeros(0, np.float32)


@dataclass(frozen=True)
class IngestResamplerState:
    """All that is needed to continue elsewhere.

    start: stream samples (at 16 kHz) before the producer's first; received: samples of the producer; emitted: stream
    samples so far. recent [n]: the producer's newest samples, mono, for a new resampler; first: the stream sample that
    belongs to the first of them.
    """

    format: PcmFormat
    start: int
    received: int
    emitted: int
    recent: NDArray[np.float32]
    first: int


class IngestResampler:
    """Resample one producer's bytes. Sample n of the producer is sample start + round(n * 16000 / rate) of the stream,
    however much was lost before it: at a loss the resampler is flushed and replaced.

    What soxr remembers cannot be exported, but it can be rebuilt from the newest samples that it was fed. Owned by one
    thread at a time.
    """

    def __init__(self, format: PcmFormat, start: int = 0) -> None:
        """start: stream samples before the producer's first."""
        self.format = format
        self.start, self.received, self.emitted = start, 0, start
        self._restart()

    def _restart(self) -> None:
        """Use a new resampler for what follows."""
        self._resampler = Resampler(self.format.rate)
        self._delay = ResamplerDelay.of(self.format.rate)
        self._fed = self._resampled = 0  # samples that went into it and came out
        # Whole numbers in one channel at 16 kHz need neither a resampler nor repairs: a third of the work
        self._is_passthrough = self.format == PcmFormat(SAMPLE_RATE, "s16le", 1)
        self._first = self.emitted  # stream sample that belongs to the first one fed
        self._discard = 0  # of what it gives next, since another one gave it before
        self._history_samples = _priming_samples(self.format.rate) + GRID_SEARCH
        self._recent: deque[NDArray[np.float32]] = deque()
        self._recent_samples = 0

    @property
    def end_s(self) -> float:
        """Stream time at the end of what was received, in seconds."""
        return self._place(self.received) / SAMPLE_RATE

    def input_needed(self, samples: int) -> int:
        """Return how many more samples of the producer, at least 1, give so many more of the stream."""
        total = self._delay.input_for(samples + self._discard, self._resampled, self.format.rate)
        return max(1, total - self._fed)

    def feed(self, data: bytes) -> NDArray[np.float32]:
        """Take whole samples of the producer and return the stream samples [m] that are complete."""
        chunk = self.format.decode(data)
        self.received += len(chunk)
        self._remember(chunk)
        return self._emit(chunk[:, 0] if self._is_passthrough else self._resampler.feed(chunk))

    def insert_gap(self, samples: int) -> tuple[NDArray[np.float32], int]:
        """Count lost samples of the producer, > 0. Return what the resampler still held [m], and the number of stream
        samples that are missing after it."""
        tail = self.flush()
        self.received += samples
        lost = max(0, self._place(self.received) - self.emitted)
        self.emitted += lost
        self._restart()
        return tail, lost

    def whole_hops(self, max_samples: int, hop: int) -> int:
        """Return how many of the producer's next samples, at most max_samples, are whole hops of the stream."""
        hops = (self._place(self.received + max_samples) - self._place(self.received)) // hop
        end = self._place(self.received) + hops * hop - self.start
        return min(max_samples, round(end * self.format.rate / SAMPLE_RATE) - self.received) if hops else 0

    def skip(self, samples: int, hop: int) -> tuple[NDArray[np.float32], int]:
        """Skip samples of the producer, as many as whole_hops returned. Return what the resampler still held [m], and
        the number of hops skipped."""
        hops = round((self._place(self.received + samples) - self._place(self.received)) / hop)
        tail = self.flush()
        self.received += samples
        self.emitted += hops * hop
        self._restart()
        return tail, hops

    def change_format(self, format: PcmFormat) -> NDArray[np.float32]:
        """Expect another format from now on, and return what the resampler still held [m]."""
        tail = self.flush()
        self.format, self.start, self.received = format, self.emitted, 0
        self._restart()
        return tail

    def flush(self) -> NDArray[np.float32]:
        """Return what the resampler still holds [m]. Only a gap or another format may follow."""
        missing = max(0, self._place(self.received) - self.emitted)
        if not missing:
            return EMPTY
        rest = self._emit(self._resampler.flush(), missing)
        # a resampler that was restarted counts from there, and may round one sample away
        return np.concatenate([rest, self._emit(np.zeros(missing - len(rest), np.float32))])

    def export_state(self) -> IngestResamplerState:
        """Return what is needed to continue elsewhere."""
        recent, first = EMPTY, self.emitted
        if self.format.rate != SAMPLE_RATE:
            mixer = Resampler(self.format.rate, self.format.rate)
            recent = np.concatenate([EMPTY, *map(mixer.feed, self._recent)])
            oldest = self._fed - len(recent)
            start = 0 if oldest == 0 and self._fed <= self._history_samples else self._nearest_on_grid(oldest)
            first = self._first + round(start * SAMPLE_RATE / self.format.rate)
            recent = recent[start - oldest :]
        return IngestResamplerState(self.format, self.start, self.received, self.emitted, recent, first)

    @classmethod
    def from_state(cls, state: IngestResamplerState) -> tuple[IngestResampler, NDArray[np.float32]]:
        """Return one that continues there, and the stream samples [m] that are complete already.

        Raises SpecError if no resampler can have reached such a state.
        """
        new = cls(state.format, state.start)
        discard, counts = state.emitted - state.first, (state.start, state.received, state.emitted, state.first)
        is_valid = (
            all(0 <= count <= MAX_SAMPLES for count in counts)
            and len(state.recent) <= new._history_samples
            and 0 <= discard <= len(state.recent) * SAMPLE_RATE / state.format.rate + 1
            and 0 <= new._place(state.received) - state.emitted <= new._delay.max_delay
        )
        if not is_valid:
            raise SpecError("a stream's state is damaged: its positions do not fit each other")
        new.received, new.emitted = state.received, state.emitted
        new._first, new._discard = state.first, discard
        if not len(state.recent):
            return new, EMPTY
        new._remember(state.recent)
        return new, new._emit(new._resampler.feed(state.recent))

    def _place(self, received: int) -> int:
        """Return the stream sample that belongs to a sample of the producer."""
        return self.start + round(received * SAMPLE_RATE / self.format.rate)

    def _remember(self, chunk: NDArray[np.float32]) -> None:
        """Keep what the resampler is fed for as long as the resampler does."""
        self._fed += len(chunk)
        if self.format.rate == SAMPLE_RATE:
            return
        self._recent.append(chunk)
        self._recent_samples += len(chunk)
        while self._recent_samples - len(self._recent[0]) >= self._history_samples:
            self._recent_samples -= len(self._recent.popleft())

    def _emit(self, out: NDArray[np.float32], max_samples: int | None = None) -> NDArray[np.float32]:
        """Return the resampler's output without what is to be discarded, at most max_samples of it."""
        self._resampled += len(out)
        discard = min(self._discard, len(out))
        self._discard -= discard
        out = out[discard:][:max_samples]
        self.emitted += len(out)
        return out

    def _nearest_on_grid(self, oldest: int) -> int:
        """Return which of the samples fed may be the first of a new resampler so that its output lies on the same grid.

        For all usual rates one fits exactly, for others to 1/1000 of a sample.
        """
        last = self._fed - _priming_samples(self.format.rate)
        candidates = np.arange(max(oldest, last - GRID_SEARCH), last + 1, dtype=np.int64)
        offsets = (candidates * SAMPLE_RATE + self.format.rate // 2) % self.format.rate - self.format.rate // 2
        return int(candidates[np.abs(offsets).argmin()])


@dataclass(frozen=True)
class ResamplerDelay:
    """When a resampler, which returns its output in blocks, returns the next one.

    lag: how far the output is behind the input just after a block, at most; min_block, max_block: samples in a block.
    All at 16 kHz.
    """

    lag: int
    min_block: int
    max_block: int

    @staticmethod
    @lru_cache(maxsize=256)  # a server sees few rates, and a rate's blocks are always the same
    def of(rate: int) -> ResamplerDelay:
        """Measure it for a rate in Hz, with silence."""
        if rate == SAMPLE_RATE:
            return ResamplerDelay(0, 0, 0)
        resampler, step = Resampler(rate), max(1, round(PROBE_STEP_S * rate))
        silence = np.zeros(step, np.float32)
        fed = out = lag = 0
        blocks: list[int] = []
        while fed < PROBE_S * rate and len(blocks) < PROBE_BLOCKS:
            block = len(resampler.feed(silence))
            fed, out = fed + step, out + block
            if block:
                lag = max(lag, ceil(fed * SAMPLE_RATE / rate) - out)
                blocks.append(block)
        return ResamplerDelay(lag, min(blocks), max(blocks))

    @property
    def max_delay(self) -> int:
        """No resampler's output is further behind its input."""
        return 2 * (self.lag + self.max_block) + 1

    def input_for(self, samples: int, out: int, rate: int) -> int:
        """Return how many samples at `rate` must have gone in, in all, for `samples` to follow the first `out`."""
        if not self.max_block:
            return out + samples
        return ceil((out + self.lag + ceil(samples / self.min_block) * self.max_block) * rate / SAMPLE_RATE)


def _priming_samples(rate: int) -> int:
    """Return how many samples at `rate` a new resampler needs before it gives what an old one would."""
    return max(MIN_PRIMING, round(PRIMING_S * rate))


def check_position(position: int | None) -> None:
    """Raise SpecError for a producer's count of samples that cannot be right."""
    if position is not None and not 0 <= position <= MAX_SAMPLES:
        raise SpecError(f"a position of {position}: must lie between 0 and {MAX_SAMPLES}")
