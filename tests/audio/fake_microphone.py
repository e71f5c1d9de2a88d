"""A fake sound card: plays sound from memory into the ring, in a thread; stalls and loses audio by a script."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.live_source import LiveSource
from streamtag.audio.resample import SAMPLE_RATE, AudioTap, CaptureResampler
from streamtag.audio.ring import Block, Ring
from streamtag.audio.source import NO_SAMPLES, CaptureEvent

BLOCK_S = 0.01  # of sound in a block
MAX_READ_S = 1.0  # of sound in one chunk, so that a late reader can look around
POLL_INTERVAL_S = 0.002
MIN_WAIT_S = 0.001


@dataclass(frozen=True)
class Fault:
    """At second at_s of the sound: lost_s of it never come, then the device gives nothing for stall_s by the clock.

    What was due in a stall comes after it, all at once, as from a device that went on recording.
    """

    at_s: float
    lost_s: float = 0.0
    stall_s: float = 0.0


class FakeMicrophone(LiveSource):
    """An AudioSource that ends where its sound does."""

    def __init__(
        self,
        sound: NDArray[np.float32] | Iterable[NDArray[np.float32]],
        rate: int = SAMPLE_RATE,
        speed: float = 1.0,
        faults: Sequence[Fault] = (),
        tap: AudioTap | None = None,
        name: str = "mic",
        ring_s: float = 10.0,
    ) -> None:
        """sound: [n] or [n, channels] at `rate` Hz, or an iterable of such, all with the same channels.

        speed: in times real time. inf: as fast as it is read, and nothing is lost but by the script; at any other
        speed what is not read for longer than ring_s of sound is lost.
        """
        chunks = iter([sound] if isinstance(sound, np.ndarray) else sound)
        first = next(chunks, NO_SAMPLES)
        channels = _as_columns(first).shape[1]
        super().__init__(name, f"sound from memory, {rate} Hz, {channels} channels, {speed:g} times real time")
        block = max(1, round(BLOCK_S * rate))
        self._blocks = _cut(first, chunks, block)
        self._script = _Script(rate, faults)
        self._rate, self._speed = rate, speed
        self._resampler = CaptureResampler(rate, tap)
        self._ring = Ring(max(2, round(ring_s * rate / block)), block, channels)
        self._losses = 0
        self._finished = threading.Event()
        self._closed = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._play, name="streamtag-fake", daemon=True)
        self._thread.start()

    @property
    def xruns(self) -> int:
        return self._losses

    def close(self) -> None:
        self._closed.set()
        self._thread.join(1.0)

    def _poll(self, timeout_s: float) -> list[CaptureEvent]:
        """Raises whatever the iterable of chunks raised, in its place."""
        has_finished = self._finished.is_set()  # before the ring is looked into: what it holds then is all
        if len(self._ring):
            return self._resampler.feed(self._joined_blocks())
        if not has_finished:
            time.sleep(min(POLL_INTERVAL_S, timeout_s))
            return []
        if self._failure is not None:
            raise self._failure
        self._has_ended = True
        events = self._resampler.flush()
        if self._ring.unreported_loss:
            self._losses += 1
            events += self._resampler.insert_gap(self._ring.unreported_loss)
        return events

    def _joined_blocks(self) -> Block:
        """What is in the ring, up to a loss or MAX_READ_S, as one block."""
        block = self._ring.read()
        assert block is not None
        self._losses += block.lost > 0
        parts = [block.samples]
        while len(parts) * BLOCK_S < MAX_READ_S and (next := self._ring.peek()) is not None and not next.lost:
            self._ring.read()
            parts.append(next.samples)
            block = replace(block, arrival_time=next.arrival_time)
        return replace(block, samples=np.concatenate(parts))

    def _play(self) -> None:
        try:
            self._play_all()
        except Exception as error:  # raised again by `read`, in its place
            self._failure = error
        self._finished.set()

    def _play_all(self) -> None:
        began, position = time.monotonic(), 0
        for block in self._blocks:
            lost, stall_s, kept = self._script.next(block)
            position += len(block)
            wait_s = stall_s
            if math.isinf(self._speed):
                while self._ring.is_full and not self._closed.is_set():
                    self._closed.wait(POLL_INTERVAL_S)
            else:
                wait_s = max(wait_s, began + position / (self._rate * self._speed) - time.monotonic())
            if wait_s > MIN_WAIT_S:
                self._closed.wait(wait_s)
            if self._closed.is_set():
                return
            self._ring.write(kept, lost)


class _Script:
    """Goes through the faults in order of time, block by block."""

    def __init__(self, rate: int, faults: Sequence[Fault]) -> None:
        self._rate = rate
        self._faults = deque(sorted(faults, key=lambda fault: fault.at_s))
        self._position = 0  # samples of the sound
        self._to_lose = 0  # samples

    def next(self, block: NDArray[np.float32]) -> tuple[int, float, NDArray[np.float32]]:
        """Return for a block [n, channels] the samples lost before what is kept, the stall in s, what is kept."""
        end = self._position + len(block)
        stall_s = 0.0
        while self._faults and self._faults[0].at_s * self._rate < end:
            fault = self._faults.popleft()
            self._to_lose += round(fault.lost_s * self._rate)
            stall_s += fault.stall_s
        self._position = end
        lost = min(self._to_lose, len(block))
        self._to_lose -= lost
        return lost, stall_s, block[lost:]


def _as_columns(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return samples if samples.ndim == 2 else samples[:, np.newaxis]


def _cut(first: NDArray[np.float32], rest: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Yield blocks [size, channels] of all chunks, one after another; the last may be shorter."""
    left = _as_columns(first)
    for chunk in rest:
        while len(left) >= size:
            yield left[:size]
            left = left[size:]
        left = np.concatenate([left, _as_columns(chunk)])
    for start in range(0, len(left), size):
        yield left[start : start + size]
