"""When the sound of many streams is due, and with it their frames: all by one clock, spread over the hop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import soxr

from streamtag.audio.resample import SAMPLE_RATE
from streamtag.cli.bench.measure import music
from streamtag.errors import SpecError

PIECE_S = 20.0  # s of music, again and again; every stream begins elsewhere in it
SPREAD = 0.6180339887498949  # of a hop between two streams: whatever their number, they lie evenly in it
NAP_S = 0.002  # what is due within it is pushed together: a thread that wakes for each would cost more than it feeds
TAIL_S = 0.5  # s for which the streams go on after what is measured: its last frames come under load, too
FAREWELL_S = 1.0  # s for which frames that are owed may still come


@dataclass(frozen=True)
class Pace:
    """How streams are fed, by the clock. The sound of a chunk is pushed when its last sample was made.

    rate: Hz of what is pushed. chunk_s: s. warm_s, seconds: what is not counted, and what is.
    hop_s, lookahead_s: the model's; frame k needs the sound up to hop_s * k + lookahead_s.
    """

    hop_s: float
    lookahead_s: float
    rate: int = SAMPLE_RATE
    chunk_s: float = 0.1
    warm_s: float = 3.0
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("hop_s", "lookahead_s", "chunk_s", "seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SpecError(f"Pace: {name} must be above 0")
        if self.warm_s < 0 or self.chunk < 1:
            raise SpecError("Pace: warm_s must not be negative, and a chunk needs a sample")

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def chunk(self) -> int:
        """Samples of a chunk."""
        return round(self.chunk_s * self.rate)

    @property
    def period_s(self) -> float:
        """From chunk to chunk."""
        return self.chunk / self.rate

    @property
    def end_s(self) -> float:
        """From the start of the first stream to the end of what is measured."""
        return self.hop_s + self.lookahead_s + self.warm_s + self.seconds

    @property
    def counted(self) -> tuple[float, float]:
        """From the start: frames due in here are counted."""
        return self.end_s - self.seconds, self.end_s

    def phase(self, stream: int) -> float:
        """s from the start to the first sample of a stream."""
        return self.hop_s * (stream * SPREAD % 1)

    def due(self, stream: int, chunk: int) -> float:
        """s from the start until chunk number `chunk` of the stream is pushed."""
        return self.phase(stream) + (chunk + 1) * self.period_s

    def ready(self, stream: int, frame: int, before: int = 0) -> float:
        """s from the start until the last sample that the frame needs is pushed.

        before: chunks that the stream had before the start. A resampler that holds samples back counts as late.
        """
        needed = round((self.hop_s * frame + self.lookahead_s) * self.rate)
        return self.due(stream, -(-needed // self.chunk) - 1 - before)

    def expected(self, stream: int, before: int = 0) -> list[int]:
        """Numbers of the frames of a stream that are counted."""
        first, last = self.counted
        frame = max(0, int((first + before * self.period_s - self.lookahead_s) / self.hop_s) - 2)
        frames = []
        while (ready := self.ready(stream, frame, before)) < last:
            if ready >= first:
                frames.append(frame)
            frame += 1
        return frames

    def pushes(self, streams: Sequence[int]) -> Iterator[tuple[float, int, int]]:
        """(s from the start, stream, number of the chunk) in the order of the clock, until TAIL_S after the end."""
        order = sorted(streams, key=lambda stream: self.phase(stream) % self.period_s)
        behind = {stream: int(self.phase(stream) / self.period_s) for stream in order}
        for turn in range(1 + int((self.end_s + TAIL_S) / self.period_s)):
            for stream in order:
                if (chunk := turn - behind[stream]) >= 0:
                    yield self.due(stream, chunk), stream, chunk


def feed(pace: Pace, streams: Sequence[int], start: float, push: Callable[[int, int], None]) -> list[float]:
    """Calls push(stream, chunk) by the clock; start: on time.monotonic(). -> s by which each came too late."""
    late = []
    for due, stream, chunk in pace.pushes(streams):
        if (early := start + due - time.monotonic()) > 0:
            time.sleep(max(early, NAP_S))
        push(stream, chunk)
        late.append(time.monotonic() - start - due)
    return late


def chunks(pace: Pace) -> list[bytes]:
    """The piece of music, cut: signed 16-bit samples, mono."""
    piece = music(PIECE_S)
    if pace.rate != SAMPLE_RATE:
        piece = soxr.resample(piece, SAMPLE_RATE, pace.rate)
    data = (np.clip(piece, -1, 1) * 32767).astype("<i2").tobytes()
    size = 2 * pace.chunk
    return [data[n : n + size] for n in range(0, len(data) - size + 1, size)]


def place(stream: int, chunk: int, count: int) -> int:
    """Which of `count` chunks of music comes as this chunk of the stream."""
    return (7 * stream + chunk) % count
