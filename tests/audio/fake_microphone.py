"""A device of paper: sound from memory, played into the ring by a thread as a sound card would.

What tests, the bench and the soak listen to. It stalls and loses sound by a script, so that what follows from
that can be measured.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.resample import SAMPLE_RATE, AudioTap, CaptureResampler
from streamtag.audio.ring import Ring
from streamtag.audio.source import AudioChunk, CaptureEvent, Closing
from streamtag.errors import SpecError

BLOCK_S = 0.01  # s of sound a block
RING_S = 10.0  # s of sound that wait for the taker before some is lost
MOST_S = 1.0  # s; most that one piece holds, so that a taker that was late can look around
POLL_S = 0.002  # s
EARLY_S = 0.001  # s; waits shorter than this are not worth their while
FAREWELL_S = 1.0  # s; how long closing waits for the thread

_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Fault:
    """At second at_s of the sound: lost_s of it never come, then the device gives nothing for stall_s by the clock.

    What was due in a stall comes after it, all at once, as from a device that went on recording.
    """

    at_s: float
    lost_s: float = 0.0
    stall_s: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in (self.at_s, self.lost_s, self.stall_s)):
            raise SpecError("Mishap: times must be 0 or more, in seconds")


class FakeMicrophone(Closing):
    """A Capture. It ends where the sound does."""

    def __init__(
        self,
        sound: NDArray[np.float32] | Iterable[NDArray[np.float32]],
        rate: int = SAMPLE_RATE,
        speed: float = 1.0,
        mishaps: Sequence[Fault] = (),
        tap: AudioTap | None = None,
        name: str = "mic",
        ring_s: float = RING_S,
    ) -> None:
        """sound: [n] or [n, channels] at `rate` Hz, or an iterable of such, all with the same channels.

        speed: in times real time. inf: as fast as it is taken, and nothing is lost but by the script; at any
        other speed what the taker leaves for longer than ring_s of sound is lost. Raises SpecError.
        """
        if not speed > 0:
            raise SpecError(f"a speed of {speed:g} times real time: must be above 0")
        chunks = iter([sound] if isinstance(sound, np.ndarray) else sound)
        first = next(chunks, _NOTHING)
        self._name = name
        self._channels = _as_columns(first).shape[1]
        self._blocks = _cut(first, chunks, max(1, round(BLOCK_S * rate)))
        self._script = _Script(rate, mishaps)
        self._rate, self._speed = rate, speed
        self._pieces: deque[CaptureEvent] = deque()
        self._intake = CaptureResampler(rate, self._pieces, tap)
        block = max(1, round(BLOCK_S * rate))
        self._ring = Ring(max(2, round(ring_s * rate / block)), block, self._channels)
        self._xruns = 0
        self._finished = threading.Event()
        self._closed = threading.Event()
        self._flushed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._play, name="streamtag-paced", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str:
        pace = "as fast as it is taken" if math.isinf(self._speed) else f"{self._speed:g} times real time"
        return f"sound from memory, {self._rate} Hz, {self._channels} channels, {pace}"

    @property
    def xruns(self) -> int:
        return self._xruns

    @property
    def latency_s(self) -> float:
        return 0.0

    def read(self, timeout_s: float) -> CaptureEvent | None:
        """Raises whatever the iterable of chunks raised, in its place."""
        until = time.monotonic() + timeout_s
        while not self._pieces:
            ended = self._finished.is_set()  # before the ring is looked into: what it holds then is all
            if self._drain():
                continue
            if ended:
                return self._last()
            if self._closed.is_set() or (left := until - time.monotonic()) <= 0:
                return AudioChunk(_NOTHING, time.monotonic())
            time.sleep(min(POLL_S, left))
        return self._pieces.popleft()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(FAREWELL_S)

    def _drain(self) -> bool:
        """Moves what waits in the ring into the pieces. -> whether there was anything."""
        block = self._ring.read(most=round(MOST_S * self._rate))
        if block is None:
            return False
        self._xruns += block.lost > 0
        self._intake.take(block)
        return True

    def _last(self) -> CaptureEvent | None:
        if self._failure is not None:
            raise self._failure
        if not self._flushed:
            self._flushed = True
            self._intake.flush()
            if self._ring.owed:
                self._xruns += 1
                self._intake.lose(self._ring.owed)
        return self._pieces.popleft() if self._pieces else None

    def _play(self) -> None:
        try:
            self._play_all()
        except Exception as error:  # raised again by read, in its place
            self._failure = error
        self._finished.set()

    def _play_all(self) -> None:
        began, came = time.monotonic(), 0
        for block in self._blocks:
            lost, stall_s, kept = self._script.next(block)
            came += len(block)
            early = stall_s
            if math.isinf(self._speed):
                while self._ring.full and not self._closed.is_set():
                    self._closed.wait(POLL_S)
            else:
                early = max(early, began + came / (self._rate * self._speed) - time.monotonic())
            if early > EARLY_S:
                self._closed.wait(early)
            if self._closed.is_set():
                return
            self._ring.write(kept, lost)


class _Script:
    """Goes through the mishaps in order of time, block by block."""

    def __init__(self, rate: int, mishaps: Sequence[Fault]) -> None:
        self._rate = rate
        self._ahead = deque(sorted(mishaps, key=lambda mishap: mishap.at_s))
        self._position = 0  # samples of the sound
        self._skip = 0  # samples still to be lost

    def next(self, block: NDArray[np.float32]) -> tuple[int, float, NDArray[np.float32]]:
        """block [n, channels] -> samples lost before what is kept of it, seconds to stall, what is kept."""
        end = self._position + len(block)
        stall_s = 0.0
        while self._ahead and self._ahead[0].at_s * self._rate < end:
            mishap = self._ahead.popleft()
            self._skip += round(mishap.lost_s * self._rate)
            stall_s += mishap.stall_s
        self._position = end
        lost = min(self._skip, len(block))
        self._skip -= lost
        return lost, stall_s, block[lost:]


def _as_columns(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return samples if samples.ndim == 2 else samples[:, np.newaxis]


def _cut(first: NDArray[np.float32], rest: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Blocks [size, channels] of all chunks, one after another; the last may be shorter."""
    left = _as_columns(first)
    for chunk in rest:
        while len(left) >= size:
            yield left[:size]
            left = left[size:]
        left = np.concatenate([left, _as_columns(chunk)])
    for start in range(0, len(left), size):
        yield left[start : start + size]
