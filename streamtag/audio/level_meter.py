"""Measurements of one live stream: level, silence, latency, speed and losses."""

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

MIN_DB = -100.0  # dBFS; digital silence has no level
SILENT_DB = -50.0  # dBFS RMS; below it there is no music: a quiet room's noise is near -60
BLOCK = SAMPLE_RATE // 10  # samples of which one level is computed
RISE_TIME_S = 0.3  # time constant of the RMS level, as of a VU meter's needle
FALL_DB = 12.0  # a second, of a peak: a peak meter's 20 dB in 1.7 s
MAX_PEAK = 10.0  # of full scale; whatever claims to be more is no sound
FULL_SCALE = 0.999  # the largest 16-bit sample is a little below 1
CLIP_DISPLAY_S = 1.5  # how long a clipped sample is shown
STALE_AFTER_S = 0.5  # without new audio the level begins to fall
LATENCY_WINDOW_S, MAX_LATENCIES = 60.0, 1024  # how far back, and how many at most
WORK_TIME_S = 10.0  # of audio: time constant of the real-time factor


@dataclass(frozen=True, slots=True)
class Level:
    """dBFS: 0 is a square wave at full scale, so a full sine has an RMS of -3. silence_s: so far, s of the stream."""

    rms_db: float
    peak_db: float
    clipped: bool
    silence_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """elapsed_s: of the stream. level: None if only its tags are known.

    latency: from sound to tag, percentiles over the last minute. rtf: recent seconds of work per second of audio.
    gaps, lost_s: missing audio. xruns: as the source counts them. dropped: frames that were not delivered.
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
    """The measurements of one stream. The thread that owns the stream adds to them; any thread may read them.

    silence_s: how long the stream has been below SILENT_DB, s of the stream. A gap is no silence: it starts again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()  # held for microseconds: nothing is computed under it
        self._block = np.zeros(BLOCK, np.float32)
        self._filled = 0
        self._power: float | None = None
        self._newest_at = self._clipped_at = -np.inf
        self._peak = (MIN_DB, -np.inf)  # dBFS, and when it was reached
        self.silence_s = self._lost_s = self._newest_end = 0.0
        self._samples = 0
        self._work_s = self._worked_on_s = 0.0
        self._latencies: deque[tuple[float, float]] = deque(maxlen=MAX_LATENCIES)
        self._gaps = self._xruns = self._dropped = 0

    def add_chunk(self, chunk: AudioChunk) -> None:
        """Add the next audio of the stream."""
        samples = chunk.samples
        peak = max(chunk.peak, float(np.abs(samples).max(initial=0.0)))
        peak = min(peak, MAX_PEAK) if isfinite(peak) else 0.0
        now = self._clock()
        with self._lock:
            self._samples += len(samples)
            if len(samples):
                self._newest_at = now
            if peak >= FULL_SCALE:
                self._clipped_at = now
            if (decibels := _decibels(peak * peak)) >= self._peak_now(now):
                self._peak = (decibels, now)
            self._add_samples(samples)

    def add_gap(self, seconds: float) -> None:
        """Audio of this length is missing."""
        with self._lock:
            self._gaps += 1
            self._lost_s += seconds
            self.silence_s, self._filled = 0.0, 0

    def add_work(self, seconds: float, samples: int) -> None:
        """So much time was spent on so many samples of audio."""
        decay = exp(-samples / SAMPLE_RATE / WORK_TIME_S)
        with self._lock:
            self._work_s = decay * self._work_s + seconds
            self._worked_on_s = decay * self._worked_on_s + samples / SAMPLE_RATE

    def add_frame(self, end_s: float, latency_s: float | None, dropped: int = 0) -> None:
        """Add a frame whose window ends at end_s of the stream, and the number dropped before it."""
        with self._lock:
            self._newest_end = max(self._newest_end, end_s)
            self._dropped += dropped
            if latency_s is not None:
                self._latencies.append((self._clock(), latency_s))

    def set_xruns(self, count: int) -> None:
        """Set how often the source has lost audio so far."""
        self._xruns = count

    def reading(self) -> Reading:
        """Return all measurements."""
        now = self._clock()
        with self._lock:
            latencies = [latency for when, latency in self._latencies if now - when <= LATENCY_WINDOW_S]
            reading = Reading(
                elapsed_s=max(self._samples / SAMPLE_RATE + self._lost_s, self._newest_end),
                level=self._level(now),
                rtf=self._work_s / self._worked_on_s if self._worked_on_s else None,
                gaps=self._gaps,
                lost_s=self._lost_s,
                xruns=self._xruns,
                dropped=self._dropped,
            )
        if not latencies:
            return reading
        p50, p95 = np.percentile(latencies, (50, 95)).tolist()
        return replace(reading, latency_p50_s=p50, latency_p95_s=p95)

    def _level(self, now: float) -> Level | None:
        if self._power is None:
            return None
        stale_s = max(0.0, now - self._newest_at - STALE_AFTER_S)
        return Level(
            rms_db=_decibels(self._power * exp(-stale_s / RISE_TIME_S)),
            peak_db=self._peak_now(now),
            clipped=now - self._clipped_at < CLIP_DISPLAY_S,
            silence_s=self.silence_s,
        )

    def _peak_now(self, now: float) -> float:
        peak, when = self._peak
        return MIN_DB if peak <= MIN_DB else max(MIN_DB, peak - FALL_DB * (now - when))

    def _add_samples(self, samples: NDArray[np.float32]) -> None:
        """Update power and silence block by block, so that the size of the chunks does not matter."""
        while len(samples):
            part, samples = samples[: BLOCK - self._filled], samples[BLOCK - self._filled :]
            self._block[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            if self._filled == BLOCK:
                self._filled = 0
                # Without its mean: cheap sound cards add a constant, which is inaudible.
                with np.errstate(invalid="ignore"):
                    self._add_power(float(np.var(self._block, dtype=np.float64)))

    def _add_power(self, power: float) -> None:
        seconds, power = BLOCK / SAMPLE_RATE, power if isfinite(power) else 0.0
        self.silence_s = self.silence_s + seconds if _decibels(power) < SILENT_DB else 0.0
        decay = 0.0 if self._power is None else exp(-seconds / RISE_TIME_S)
        self._power = decay * (self._power or 0.0) + (1 - decay) * power


class SilenceMonitor:
    """Reports once when an input gives nothing but zeros for too long, and once when there is sound again.

    A microphone that does is muted, or not the one that was meant.
    """

    def __init__(self, max_silence_s: float) -> None:
        self._max_silence_s = max_silence_s
        self._silence_s = 0.0
        self._was_reported = False

    def feed(self, peak: float, seconds: float) -> SourceNotice | None:
        """Return what is to be reported after a block of so many seconds. peak: its largest absolute value."""
        if peak > 0:
            self._silence_s = 0.0
            if not self._was_reported:
                return None
            self._was_reported = False
            return SourceNotice("there is sound again", is_problem=False)
        self._silence_s += seconds
        if self._was_reported or self._silence_s < self._max_silence_s:
            return None
        self._was_reported = True
        return SourceNotice(f"nothing but digital silence for {self._max_silence_s:g} s: muted, or the wrong input?")


def _decibels(power: float) -> float:
    return max(MIN_DB, 10 * log10(power)) if power > 0 else MIN_DB
