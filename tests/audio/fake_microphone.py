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

from streamtag.audio.live_source import LiveSource
from streamtag.audio.resample import SAMPLE_RATE, AudioTap, CaptureResampler
from streamtag.audio.ring import Ring
from streamtag.audio.source import NO_SAMPLES, CaptureEvent
from streamtag.errors import SpecError

BLOCK_S = 0.01  # s of sound a block
RING_S = 10.0  # s of sound that wait for the taker before some is lost
MOST_S = 1.0  # s; most that one piece holds, so that a taker that was late can look around
POLL_S = 0.002  # s
EARLY_S = 0.001  # s; waits shorter than this are not worth their while
FAREWELL_S = 1.0  # s; how long closing waits for the thread


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


class FakeMicrophone(LiveSource):
    """An AudioSource. It ends where the sound does."""

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

        speed: in times real time. inf: as fast as it is read, and nothing is lost but by the script; at any other
        speed what is not read for longer than ring_s of sound is lost. Raises SpecError.
        """
        if not speed > 0:
            raise SpecError(f"a speed of {speed:g} times real time: must be above 0")
        chunks = iter([sound] if isinstance(sound, np.ndarray) else sound)
        first = next(chunks, NO_SAMPLES)
        channels = _as_columns(first).shape[1]
        pace = "as fast as it is taken" if math.isinf(speed) else f"{speed:g} times real time"
        super().__init__(name, f"sound from memory, {rate} Hz, {channels} channels, {pace}")
        self._blocks = _cut(first, chunks, max(1, round(BLOCK_S * rate)))
        self._script = _Script(rate, mishaps)
        self._rate, self._speed = rate, speed
        self._resampler = CaptureResampler(rate, tap)
        block = max(1, round(BLOCK_S * rate))
        self._ring = Ring(max(2, round(ring_s * rate / block)), block, channels)
        self._losses = 0
        self._finished = threading.Event()
        self._closed = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._play, name="streamtag-paced", daemon=True)
        self._thread.start()

    @property
    def xruns(self) -> int:
        return self._losses

    def close(self) -> None:
        self._closed.set()
        self._thread.join(FAREWELL_S)

    def _poll(self, timeout_s: float) -> list[CaptureEvent]:
        """Raises whatever the iterable of chunks raised, in its place."""
        ended = self._finished.is_set()  # before the ring is looked into: what it holds then is all
        if (block := self._ring.read(max_samples=round(MOST_S * self._rate))) is not None:
            self._losses += block.lost > 0
            return self._resampler.feed(block)
        if not ended:
            time.sleep(min(POLL_S, timeout_s))
            return []
        if self._failure is not None:
            raise self._failure
        self._has_ended = True
        events = self._resampler.flush()
        if self._ring.unreported_loss:
            self._losses += 1
            events += self._resampler.insert_gap(self._ring.unreported_loss)
        return events

    def _play(self) -> None:
        try:
            self._play_all()
        except Exception as error:  # raised again by `read`, in its place
            self._failure = error
        self._finished.set()

    def _play_all(self) -> None:
        began, came = time.monotonic(), 0
        for block in self._blocks:
            lost, stall_s, kept = self._script.next(block)
            came += len(block)
            early = stall_s
            if math.isinf(self._speed):
                while self._ring.is_full and not self._closed.is_set():
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
