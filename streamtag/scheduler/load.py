"""The load of many streams by one clock, and the record of when their frames came back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.resample import SAMPLE_RATE

CHUNK = SAMPLE_RATE // 10  # samples that a producer pushes at once
PERIOD_S = CHUNK / SAMPLE_RATE
PIECE_S = 20.0  # s of music, repeated; every stream starts at another place in it
PHASE_STEP = 0.6180339887498949  # of a hop between two streams: any number of them is spread evenly
MIN_SLEEP_S = 0.002  # chunks due within it are pushed together: a thread that wakes for each costs more than it feeds
TAIL_S = 0.5  # for which the streams continue after the measurement, so that its last frames also come under load
DRAIN_TIMEOUT_S = 1.0  # for frames that are still missing after that
DEADLINE_S = 0.256  # from the push of a frame's last sample to its message, for 99 % of the frames


@dataclass(frozen=True)
class LoadSchedule:
    """When chunks are pushed, which is when their last sample would have been made, and when frames become ready.

    hop_s, lookahead_s: the model's; frame k needs the audio up to hop_s * k + lookahead_s. Frames that become ready in
    the `seconds` after warm_up_s are counted.
    """

    hop_s: float
    lookahead_s: float
    warm_up_s: float = 3.0
    seconds: float = 10.0

    @property
    def counted(self) -> tuple[float, float]:
        """Start and end of the measurement, s after the start of the first stream."""
        start = self.hop_s + self.lookahead_s + self.warm_up_s
        return start, start + self.seconds

    def due(self, stream: int, chunk: int) -> float:
        """Return when chunk number `chunk` of the stream is pushed, s after the start."""
        return self.hop_s * (stream * PHASE_STEP % 1) + (chunk + 1) * PERIOD_S

    def ready(self, stream: int, frame: int) -> float:
        """Return when the last sample that the frame needs is pushed, s after the start."""
        needed = round((self.hop_s * frame + self.lookahead_s) * SAMPLE_RATE)
        return self.due(stream, -(-needed // CHUNK) - 1)

    def expected(self, stream: int) -> list[int]:
        """Return the numbers of the frames of a stream that are counted."""
        start, end = self.counted
        return [frame for frame in range(int(end / self.hop_s) + 1) if start <= self.ready(stream, frame) < end]

    def pushes(self, streams: Sequence[int]) -> Iterator[tuple[float, int, int]]:
        """Yield (s after the start, stream, number of the chunk) in order of time, until TAIL_S after the end."""
        order = sorted(streams, key=lambda stream: self.due(stream, 0) % PERIOD_S)
        delays = {stream: int(self.due(stream, -1) / PERIOD_S) for stream in order}
        for period in range(1 + int((self.counted[1] + TAIL_S) / PERIOD_S)):
            for stream in order:
                if (chunk := period - delays[stream]) >= 0:
                    yield self.due(stream, chunk), stream, chunk


def feed(
    schedule: LoadSchedule,
    streams: Sequence[int],
    start: float,
    push: Callable[[int, bytes], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Call push(stream, chunk) by the clock. start: on the clock."""
    chunks = pcm_chunks()
    for due, stream, number in schedule.pushes(streams):
        if (early_s := start + due - clock()) > 0:
            sleep(max(early_s, MIN_SLEEP_S))
        push(stream, chunks[(7 * stream + number) % len(chunks)])


def music(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Return plucked chords over a pulse with a little noise: [seconds * 16000] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    sound = 0.002 * rng.standard_normal(int(seconds * SAMPLE_RATE))
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for start in range(0, len(sound) - SAMPLE_RATE, SAMPLE_RATE // 3):
        envelope = (1 - np.exp(-200 * t)) * np.exp(-rng.uniform(2, 9) * t)
        for pitch in 55.0 * 2 ** (rng.integers(0, 60, size=3) / 12):
            partials = np.arange(1, 1 + min(6, int(7500 // pitch)))[:, None]
            tone = (np.sin(2 * np.pi * pitch * partials * t) / partials**1.5).sum(axis=0)
            sound[start : start + SAMPLE_RATE] += 0.08 * envelope * tone
    return sound.astype(np.float32)


def pcm_chunks() -> list[bytes]:
    """Return the piece of music in chunks of signed 16-bit mono samples."""
    data = (np.clip(music(PIECE_S), -1, 1) * 32767).astype("<i2").tobytes()
    return [data[n : n + 2 * CHUNK] for n in range(0, len(data) - 2 * CHUNK + 1, 2 * CHUNK)]


@dataclass(frozen=True)
class Trial:
    """The result of one trial.

    delays_s: from the push of a frame's last sample to its message, for every counted frame that came. missing,
    repeated: frames that did not come, or came twice or out of order. refused: streams that were not admitted or
    broke off.
    """

    streams: int
    delays_s: NDArray[np.float64]
    missing: int = 0
    repeated: int = 0
    gaps: int = 0
    refused: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_lossless(self) -> bool:
        return not (self.missing or self.repeated or self.gaps or self.refused)

    @property
    def passed(self) -> bool:
        """True if no frame was lost and 99 % of them were in time."""
        return self.is_lossless and len(self.delays_s) > 0 and float(np.percentile(self.delays_s, 99)) < DEADLINE_S

    def __str__(self) -> str:
        counts = f"{self.missing} missing, {self.repeated} repeated, {self.gaps} gaps, {self.refused} refused"
        p99 = f"p99 {1e3 * np.percentile(self.delays_s, 99):.0f} ms" if len(self.delays_s) else "no frames"
        return f"{self.streams}: {'passed' if self.passed else 'failed'}, {p99}, {counts}"

    def to_figures(self) -> dict[str, Any]:
        delays_ms = 1e3 * (self.delays_s if len(self.delays_s) else np.array([np.inf]))
        names = ("p50", "p95", "p99", "max")
        values = np.percentile(delays_ms, [50, 95, 99, 100]).tolist()
        latencies = {f"ready_to_message_{name}_ms": value for name, value in zip(names, values, strict=True)}
        return {**latencies, "frames": len(self.delays_s), **self.figures}


class TrialRecorder:
    """Collects the frames of a trial; each stream's must come from one thread at a time."""

    def __init__(self, schedule: LoadSchedule, streams: Sequence[int]) -> None:
        self._schedule = schedule
        self._expected = {stream: schedule.expected(stream) for stream in streams}
        self._arrivals: dict[int, list[tuple[int, float]]] = {stream: [] for stream in streams}
        self._gaps: list[int] = []
        self._refused: set[int] = set()

    def add_frame(self, stream: int, number: int, when: float) -> None:
        """when: on time.monotonic()."""
        self._arrivals[stream].append((number, when))

    def add_gap(self, stream: int) -> None:
        self._gaps.append(stream)

    def refuse(self, stream: int) -> None:
        """Note that the stream was not admitted or broke off."""
        self._refused.add(stream)

    @property
    def is_complete(self) -> bool:
        """True if the last counted frame of every stream has come."""
        for stream, arrivals in self._arrivals.items():
            expected = self._expected[stream]
            if expected and not (arrivals and arrivals[-1][0] >= expected[-1]):
                return False
        return True

    def wait(self) -> None:
        """Wait until all frames have come, or DRAIN_TIMEOUT_S."""
        until = time.monotonic() + DRAIN_TIMEOUT_S
        while not self.is_complete and time.monotonic() < until:
            time.sleep(DRAIN_TIMEOUT_S / 20)

    def trial(self, start: float, **figures: Any) -> Trial:
        """start: of the schedule, on time.monotonic()."""
        delays_s: list[float] = []
        missing = repeated = 0
        for stream, arrivals in self._arrivals.items():
            numbers, times = [number for number, _ in arrivals], dict(arrivals)
            repeated += sum(b <= a for a, b in pairwise(numbers))
            expected = self._expected[stream]
            missing += sum(number not in times for number in expected)
            ready = self._schedule.ready
            delays_s += [times[number] - start - ready(stream, number) for number in expected if number in times]
        counts = missing, repeated, len(self._gaps), len(self._refused)
        return Trial(len(self._arrivals), np.array(delays_s), *counts, figures)
