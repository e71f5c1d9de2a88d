"""What a live stream's sound and its work look like from outside: level, silence, latency, speed, losses."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp, isfinite, log10
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import AudioChunk, SourceNotice

LOWEST_DB = -100.0  # dBFS; digital silence has no level
SILENT_DB = -50.0  # dBFS RMS; below it there is no music: a quiet room's noise is near -60
BLOCK = SAMPLE_RATE // 10  # samples of which one level is taken
RISE_S = 0.3  # time constant of the RMS level, as a VU meter's needle has it
FALL_DB = 12.0  # a second, of a peak: a peak meter's 20 dB in 1.7 s
LARGEST = 10.0  # of full scale; whatever claims to be more is no sound
FULL = 0.999  # of full scale: the largest 16-bit sample is a little below 1
CLIP_S = 1.5  # a clipped sample is shown for so long
STALE_S = 0.5  # without news of the sound the level begins to fall
LATENCY_S, LATENCIES = 60.0, 1024  # how far back, and how many at most
WORK_S = 10.0  # of sound: time constant of the real-time factor


@dataclass(frozen=True, slots=True)
class Level:
    """dBFS: 0 is a square wave at full scale, so a full sine has an RMS of -3. silence_s: of stream, so far."""

    rms_db: float
    peak_db: float
    clipped: bool
    silence_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """elapsed_s: of the stream. level: None where no sound was seen, only its tags.

    latency: from sound to tag, percentiles over the last minute. rtf: seconds of work a second of sound, of late.
    gaps and lost_s: sound that is missing. xruns: as the source counts them. dropped: frames that never came here.
    """

    elapsed_s: float = 0.0
    level: Level | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    rtf: float | None = None
    gaps: int = 0
    lost_s: float = 0.0
    xruns: int = 0
    dropped: int = 0


class Meter:
    """One stream's. The thread that owns the stream tells it what happens; any thread may take a reading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()  # held for microseconds: nobody computes in it
        self._block = np.zeros(BLOCK, np.float32)
        self._filled = 0
        self._power: float | None = None
        self._heard_at = self._clipped_at = -np.inf
        self._peak = (LOWEST_DB, -np.inf)  # dBFS, and when it was so high
        self._silence = self._lost_s = self._newest_end = 0.0
        self._samples = 0
        self._work = self._worked_on = 0.0
        self._latencies: deque[tuple[float, float]] = deque(maxlen=LATENCIES)
        self._gaps = self._xruns = self._dropped = 0

    @property
    def silence_s(self) -> float:
        """How long the stream has been below -50 dBFS, s of stream. Lost sound is no silence: it starts anew."""
        return self._silence

    def add_chunk(self, piece: AudioChunk) -> None:
        """The next sound of the stream."""
        samples = piece.samples
        peak = max(piece.peak, float(np.abs(samples).max(initial=0.0)))
        peak = min(peak, LARGEST) if isfinite(peak) else 0.0
        now = self._clock()
        with self._lock:
            self._samples += len(samples)
            if len(samples):
                self._heard_at = now
            if peak >= FULL:
                self._clipped_at = now
            if (decibels := _db(peak * peak)) >= self._peak_now(now):
                self._peak = (decibels, now)
            self._measure(samples)

    def add_gap(self, seconds: float) -> None:
        """Sound of this length is missing."""
        with self._lock:
            self._gaps += 1
            self._lost_s += seconds
            self._silence, self._filled = 0.0, 0

    def add_work(self, seconds: float, samples: int) -> None:
        """So much work was done for so many samples of sound."""
        keep = exp(-samples / SAMPLE_RATE / WORK_S)
        with self._lock:
            self._work = keep * self._work + seconds
            self._worked_on = keep * self._worked_on + samples / SAMPLE_RATE

    def add_frame(self, end_s: float, latency_s: float | None, dropped: int = 0) -> None:
        """A frame is out whose window ends at end_s of the stream, and before it some that never came."""
        with self._lock:
            self._newest_end = max(self._newest_end, end_s)
            self._dropped += dropped
            if latency_s is not None:
                self._latencies.append((self._clock(), latency_s))

    def set_xruns(self, count: int) -> None:
        """How often the source lost sound so far."""
        self._xruns = count

    def reading(self) -> Reading:
        now = self._clock()
        with self._lock:
            recent = [latency for when, latency in self._latencies if now - when <= LATENCY_S]
            reading = Reading(
                elapsed_s=max(self._samples / SAMPLE_RATE + self._lost_s, self._newest_end),
                level=self._level(now),
                rtf=self._work / self._worked_on if self._worked_on else None,
                gaps=self._gaps,
                lost_s=self._lost_s,
                xruns=self._xruns,
                dropped=self._dropped,
            )
        return _with_latency(reading, recent)

    def _level(self, now: float) -> Level | None:
        if self._power is None:
            return None
        stale = max(0.0, now - self._heard_at - STALE_S)
        return Level(
            rms_db=_db(self._power * exp(-stale / RISE_S)),
            peak_db=self._peak_now(now),
            clipped=now - self._clipped_at < CLIP_S,
            silence_s=self._silence,
        )

    def _peak_now(self, now: float) -> float:
        peak, when = self._peak
        return LOWEST_DB if peak <= LOWEST_DB else max(LOWEST_DB, peak - FALL_DB * (now - when))

    def _measure(self, samples: NDArray[np.float32]) -> None:
        """Power and silence, block by block, so that it does not matter how the sound is cut."""
        while len(samples):
            part, samples = samples[: BLOCK - self._filled], samples[BLOCK - self._filled :]
            self._block[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            if self._filled == BLOCK:
                self._filled = 0
                # Without its mean: cheap sound cards add a constant, which nobody hears.
                with np.errstate(invalid="ignore"):
                    self._note(float(np.var(self._block, dtype=np.float64)))

    def _note(self, power: float) -> None:
        seconds, power = BLOCK / SAMPLE_RATE, power if isfinite(power) else 0.0
        self._silence = self._silence + seconds if _db(power) < SILENT_DB else 0.0
        keep = 0.0 if self._power is None else exp(-seconds / RISE_S)
        self._power = keep * (self._power or 0.0) + (1 - keep) * power


def _db(power: float) -> float:
    return max(LOWEST_DB, 10 * log10(power)) if power > 0 else LOWEST_DB


def _with_latency(reading: Reading, latencies: list[float]) -> Reading:
    if not latencies:
        return reading
    p50, p95 = np.percentile(latencies, (50, 95)).tolist()
    return replace(reading, latency_p50_s=p50, latency_p95_s=p95)


LONG_S = 30.0  # s; a real input never gives exact zeros for so long


class SilenceMonitor:
    """Told of every block; says once when it has lasted too long, and once when sound is back."""

    def __init__(self, long_s: float = LONG_S) -> None:
        self._long_s = long_s
        self._silent_s = 0.0
        self._told = False

    def feed(self, peak: float, seconds: float) -> SourceNotice | None:
        """peak: the largest absolute value of a block of so many seconds."""
        if peak > 0:
            self._silent_s = 0.0
            if self._told:
                self._told = False
                return SourceNotice("there is sound again", is_problem=False)
            return None
        self._silent_s += seconds
        if self._told or self._silent_s < self._long_s:
            return None
        self._told = True
        return SourceNotice(f"nothing but digital silence for {self._long_s:g} s: muted, or the wrong input?")
