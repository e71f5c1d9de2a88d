"""When each chunk of many streams is due, and with it each frame: by one clock, spread evenly over the hop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.figures import music
from streamtag.errors import SpecError

PIECE_S = 20.0  # s of music, repeated; every stream starts at another place in it
PHASE_STEP = 0.6180339887498949  # of a hop between two streams: any number of them is spread evenly
MIN_SLEEP_S = 0.002  # chunks due within it are pushed together: a thread that wakes for each costs more than it feeds
TAIL_S = 0.5  # for which the streams continue after the measurement, so that its last frames also come under load
DRAIN_TIMEOUT_S = 1.0  # for frames that are still missing after that


@dataclass(frozen=True)
class LoadSchedule:
    """How streams are fed: a chunk is pushed when its last sample would have been made.

    rate: Hz of what is pushed. chunk_s: s. Frames that become ready in the `seconds` after warm_up_s are counted.
    hop_s, lookahead_s: the model's; frame k needs the audio up to hop_s * k + lookahead_s.
    """

    hop_s: float
    lookahead_s: float
    rate: int = SAMPLE_RATE
    chunk_s: float = 0.1
    warm_up_s: float = 3.0
    seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.chunk < 1 or not 0 < self.seconds < float("inf") or self.warm_up_s < 0:
            raise SpecError("LoadSchedule: a chunk needs a sample, and the measurement a time above 0")

    @property
    def chunk(self) -> int:
        """Samples of a chunk."""
        return round(self.chunk_s * self.rate)

    @property
    def period_s(self) -> float:
        """Time between two chunks of a stream."""
        return self.chunk / self.rate

    @property
    def counted(self) -> tuple[float, float]:
        """Start and end of the measurement, s after the start of the first stream."""
        start = self.hop_s + self.lookahead_s + self.warm_up_s
        return start, start + self.seconds

    def due(self, stream: int, chunk: int) -> float:
        """Return when chunk number `chunk` of the stream is pushed, s after the start."""
        return self.hop_s * (stream * PHASE_STEP % 1) + (chunk + 1) * self.period_s

    def ready(self, stream: int, frame: int) -> float:
        """Return when the last sample that the frame needs is pushed, s after the start."""
        needed = round((self.hop_s * frame + self.lookahead_s) * self.rate)
        return self.due(stream, -(-needed // self.chunk) - 1)

    def expected(self, stream: int) -> list[int]:
        """Return the numbers of the frames of a stream that are counted."""
        start, end = self.counted
        frames = range(int(end / self.hop_s) + 1)
        return [frame for frame in frames if start <= self.ready(stream, frame) < end]

    def pushes(self, streams: Sequence[int]) -> Iterator[tuple[float, int, int]]:
        """Yield (s after the start, stream, number of the chunk) in order of time, until TAIL_S after the end."""
        order = sorted(streams, key=lambda stream: self.due(stream, 0) % self.period_s)
        delays = {stream: int(self.due(stream, -1) / self.period_s) for stream in order}
        for period in range(1 + int((self.counted[1] + TAIL_S) / self.period_s)):
            for stream in order:
                if (chunk := period - delays[stream]) >= 0:
                    yield self.due(stream, chunk), stream, chunk

    def pcm_chunks(self) -> list[bytes]:
        """Return the piece of music in chunks of signed 16-bit mono samples."""
        piece = music(PIECE_S)
        if self.rate != SAMPLE_RATE:
            piece = soxr.resample(piece, SAMPLE_RATE, self.rate)
        data = (np.clip(piece, -1, 1) * 32767).astype("<i2").tobytes()
        size = 2 * self.chunk
        return [data[n : n + size] for n in range(0, len(data) - size + 1, size)]


def feed(schedule: LoadSchedule, streams: Sequence[int], start: float, push: Callable[[int, int], None]) -> list[float]:
    """Call push(stream, chunk) by the clock and return by how many seconds each call came late.

    start: on time.monotonic().
    """
    late_s = []
    for due, stream, chunk in schedule.pushes(streams):
        if (early_s := start + due - time.monotonic()) > 0:
            time.sleep(max(early_s, MIN_SLEEP_S))
        push(stream, chunk)
        late_s.append(time.monotonic() - start - due)
    return late_s


def chunk_index(stream: int, chunk: int, count: int) -> int:
    """Return which of `count` chunks of music is this chunk of the stream."""
    return (7 * stream + chunk) % count
