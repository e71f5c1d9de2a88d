"""A fake sound card: an AudioSource that plays sound from memory, and loses audio at given positions."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.resample import SAMPLE_RATE, CaptureResampler
from streamtag.audio.ring import Block
from streamtag.audio.source import AudioSource, CaptureEvent

BLOCK_S = 0.01  # of sound in a block in real time
FAST_BLOCK_S = 1.0  # at any other speed


@dataclass(frozen=True)
class Fault:
    """At second at_s of the sound, a multiple of FAST_BLOCK_S, lost_s of it are lost."""

    at_s: float
    lost_s: float


class FakeMicrophone(AudioSource):
    """Mono at 16 kHz; it ends where its sound does."""

    def __init__(
        self,
        sound: Iterable[NDArray[np.float32]],
        speed: float = 1.0,
        faults: Sequence[Fault] = (),
        name: str = "mic",
    ) -> None:
        """sound: parts [n]. speed: in times real time; inf: as fast as it is read."""
        super().__init__(name, f"sound from memory, {speed:g} times real time")
        self._resampler = CaptureResampler(SAMPLE_RATE)
        self._blocks = self._play(sound, speed, deque(faults))
        self._losses = 0

    @property
    def xruns(self) -> int:
        return self._losses

    def close(self) -> None:
        self._has_ended = True

    def _poll(self, timeout_s: float) -> list[CaptureEvent]:  # noqa: ARG002
        if (block := next(self._blocks, None)) is not None:
            return self._resampler.feed(block)
        self._has_ended = True
        return self._resampler.flush()

    def _play(self, sound: Iterable[NDArray[np.float32]], speed: float, faults: deque[Fault]) -> Iterator[Block]:
        """Yield each block when it is due."""
        began, position, to_lose, lost = time.monotonic(), 0, 0, 0
        size = round((BLOCK_S if speed == 1 else FAST_BLOCK_S) * SAMPLE_RATE)
        for block in (part[start : start + size] for part in sound for start in range(0, len(part), size)):
            position += len(block)
            while faults and faults[0].at_s * SAMPLE_RATE < position:
                to_lose += round(faults.popleft().lost_s * SAMPLE_RATE)
            cut = min(to_lose, len(block))
            to_lose, lost = to_lose - cut, lost + cut
            time.sleep(max(0.0, began + position / (SAMPLE_RATE * speed) - time.monotonic()))
            if cut < len(block):
                self._losses += lost > 0
                yield Block(block[cut:, np.newaxis], time.monotonic(), lost=lost)
                lost = 0
