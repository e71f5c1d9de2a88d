"""Bytes of one producer become the stream's samples: mono, at 16 kHz, every sample in its place.

As Intake is for a device, but in one pass, and so that a stream can move: what the resampler remembers is made anew
elsewhere from the newest of what it was fed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.resample import SAMPLE_RATE, Resampler
from streamtag.errors import SpecError
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.resampler_delay import ResamplerDelay

PRIME_S, PRIME_LEAST = 0.1, 2048  # s, and samples: all that soxr remembers, at any rate (measured: at most half of it)
SEARCH = 1024  # samples among which one is found that lies on the 16 kHz grid, or as good as on it
MOST = 1 << 50  # samples; no stream lasts so long
NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class IntakeState:
    """Where a producer's samples stand. began: samples of the stream (at 16 kHz) before the first; came: of the
    producer; gone: of the stream so far.

    recent [n]: the newest of the producer's, mono, for a new resampler; first: which sample of the stream the first
    of them is.
    """

    format: PcmFormat
    began: int
    came: int
    gone: int
    recent: NDArray[np.float32]
    first: int


class IngestResampler:
    """Owned by one thread at a time. Sample n of the producer is sample began + round(n * 16000 / rate) of the
    stream, however much was lost on the way: at a loss the resampler gives what it still holds and begins anew.
    """

    def __init__(self, format: PcmFormat, began: int = 0) -> None:
        """began: samples of the stream before the first."""
        self.format = format
        self.began, self.came, self.gone = began, 0, began
        self._keep = prime(format.rate) + SEARCH
        self._renew()

    def _renew(self) -> None:
        """A new resampler, for what comes now."""
        self._resampler = Resampler(self.format.rate)
        self._blocks = ResamplerDelay.of(self.format.rate)
        self._fed = 0  # samples it was given
        self._out = 0  # and gave
        # One channel of whole numbers at 16 kHz is what the resampler would give: a third of the work for such a stream
        self._as_is = self.format == PcmFormat(SAMPLE_RATE, "s16le", 1)
        self._first = self.gone  # which sample of the stream the first one given is
        self._unwanted = 0  # of what it gives next, that another one gave before
        self._recent: deque[NDArray[np.float32]] = deque()
        self._remembered = 0  # samples in them

    @property
    def place_s(self) -> float:
        """Where the stream stands once all of the producer's samples are resampled, s."""
        return self._place(self.came) / SAMPLE_RATE

    def needs(self, samples: int) -> int:
        """So many more samples of the producer, at least 1, until so many more of the stream are there."""
        wanted = samples + self._unwanted
        return max(1, self._blocks.input_for(wanted, self._out, self.format.rate) - self._fed)

    def hear(self, data: bytes) -> NDArray[np.float32]:
        """Whole samples, the next of the producer -> [m], what is ready of the stream."""
        chunk = self.format.decode(data)
        self.came += len(chunk)
        self._feed(chunk)
        if self._as_is:
            return self._given(chunk[:, 0])
        return self._given(self._resampler.feed(chunk))

    def lose(self, samples: int) -> tuple[NDArray[np.float32], int]:
        """So many of the producer's, > 0, are missing here -> what the resampler still held [m], and how many of the
        stream's are missing behind it."""
        tail = self.flush()
        self.came += samples
        lost = max(0, self._place(self.came) - self.gone)
        self.gone += lost
        self._renew()
        return tail, lost

    def whole(self, most: int, hop: int) -> int:
        """How many of the producer's next samples, up to `most`, are whole hops of the stream."""
        hops = (self._place(self.came + most) - self._place(self.came)) // hop
        end = self._place(self.came) + hops * hop - self.began
        return min(most, round(end * self.format.rate / SAMPLE_RATE) - self.came) if hops else 0

    def skip(self, samples: int, hop: int) -> tuple[NDArray[np.float32], int]:
        """So many of the producer's, as `whole` said, are passed over -> what the resampler still held [m], and how
        many hops they are."""
        hops = round((self._place(self.came + samples) - self._place(self.came)) / hop)
        tail = self.flush()
        self.came += samples
        self.gone += hops * hop
        self._renew()
        return tail, hops

    def turn(self, format: PcmFormat) -> NDArray[np.float32]:
        """What comes now is of another format -> what the resampler still held [m]."""
        tail = self.flush()
        self.format, self.began, self.came = format, self.gone, 0
        self._keep = prime(format.rate) + SEARCH
        self._renew()
        return tail

    def flush(self) -> NDArray[np.float32]:
        """-> what the resampler still held [m]. Nothing may be heard after it but by way of `lose` or `turn`."""
        owed = max(0, self._place(self.came) - self.gone)
        if not owed:
            return NOTHING
        rest = self._given(self._resampler.flush(), owed)
        # a resampler that began anew counts from there, and may round one sample away
        return np.concatenate([rest, self._given(np.zeros(owed - len(rest), np.float32))])

    def state(self) -> IntakeState:
        """To go on from elsewhere."""
        if self.format.rate == SAMPLE_RATE:
            return IntakeState(self.format, self.began, self.came, self.gone, NOTHING, self.gone)
        mixer = Resampler(self.format.rate, self.format.rate)
        recent = np.concatenate([NOTHING, *map(mixer.feed, self._recent)])
        oldest = self._fed - len(recent)
        start = 0 if oldest == 0 and self._fed <= self._keep else self._on_grid(oldest)
        first = self._first + round(start * SAMPLE_RATE / self.format.rate)
        return IntakeState(self.format, self.began, self.came, self.gone, recent[start - oldest :], first)

    @classmethod
    def at(cls, state: IntakeState) -> tuple[IngestResampler, NDArray[np.float32]]:
        """One that goes on from there, and what is ready of the stream already [m].

        Raises SpecError if no intake can have come to such a state.
        """
        made = cls(state.format, state.began)
        rate, behind = state.format.rate, state.gone - state.first
        whole = all(0 <= number <= MOST for number in (state.began, state.came, state.gone, state.first))
        fits = whole and len(state.recent) <= made._keep and 0 <= behind <= len(state.recent) * SAMPLE_RATE / rate + 1
        if not fits or not 0 <= made._place(state.came) - state.gone <= made._blocks.most:
            raise SpecError("a stream's state is damaged: its places do not fit each other")
        made.came, made.gone = state.came, state.gone
        made._first, made._unwanted = state.first, behind
        if not len(state.recent):
            return made, NOTHING
        made._feed(state.recent)
        return made, made._given(made._resampler.feed(state.recent))

    def _place(self, came: int) -> int:
        return self.began + round(came * SAMPLE_RATE / self.format.rate)

    def _feed(self, chunk: NDArray[np.float32]) -> None:
        """Remembers what the resampler is fed, for as long as it does."""
        self._fed += len(chunk)
        if self.format.rate == SAMPLE_RATE:
            return
        self._recent.append(chunk)
        self._remembered += len(chunk)
        while self._remembered - len(self._recent[0]) >= self._keep:
            self._remembered -= len(self._recent.popleft())

    def _given(self, out: NDArray[np.float32], most: int | None = None) -> NDArray[np.float32]:
        """What the resampler gave, but for what is unwanted of it, and no more than `most`."""
        self._out += len(out)
        unwanted = min(self._unwanted, len(out))
        self._unwanted -= unwanted
        out = out[unwanted:][:most]
        self.gone += len(out)
        return out

    def _on_grid(self, oldest: int) -> int:
        """Which of what was fed may be the first of a new resampler, so that its output falls where this one's does.

        For all usual rates there is one that fits exactly; for others one within 1/1000 of a sample.
        """
        last = self._fed - prime(self.format.rate)
        candidates = np.arange(max(oldest, last - SEARCH), last + 1, dtype=np.int64)
        places = candidates * SAMPLE_RATE
        off = (places + self.format.rate // 2) % self.format.rate - self.format.rate // 2
        return int(candidates[np.abs(off).argmin()])


def prime(rate: int) -> int:
    """Samples at `rate` that a new resampler must be fed before it gives what an old one would."""
    return max(PRIME_LEAST, round(PRIME_S * rate))
