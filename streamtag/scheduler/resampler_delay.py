"""The resampler gives what it makes in blocks: when the next of them is to be expected."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Self

import numpy as np

from streamtag.audio.resample import SAMPLE_RATE, Resampler

PROBE_S = 2.5  # s of silence from which they are learned, at most: at the lowest rates a block is a second long
ENOUGH = 6  # blocks
STEP_S = 0.0005  # and in steps so small


@dataclass(frozen=True)
class ResamplerDelay:
    """behind: how far the output lies behind the input just after a block, at most; least, length: samples in the
    shortest and the longest block. All at 16 kHz."""

    behind: int
    least: int
    length: int

    @classmethod
    def of(cls, rate: int) -> Self:
        """Of a rate in Hz."""
        return cls(*_learned(rate))

    @property
    def most(self) -> int:
        """No resampler's output is further behind."""
        return 2 * (self.behind + self.length) + 1

    def input_for(self, wanted: int, out: int, rate: int) -> int:
        """So many samples must have gone in since the start for `wanted` more to come out than the `out` so far."""
        if not self.length:
            return out + wanted
        return ceil((out + self.behind + ceil(wanted / self.least) * self.length) * rate / SAMPLE_RATE)


@lru_cache(maxsize=256)  # a rate's blocks are always the same, and a server sees few rates
def _learned(rate: int) -> tuple[int, int, int]:
    if rate == SAMPLE_RATE:
        return 0, 0, 0
    resampler, step = Resampler(rate), max(1, round(STEP_S * rate))
    silence = np.zeros(step, np.float32)
    fed = out = behind = 0
    lengths: list[int] = []
    while fed < PROBE_S * rate and len(lengths) < ENOUGH:
        came = len(resampler.feed(silence))
        fed, out = fed + step, out + came
        if came:
            behind = max(behind, ceil(fed * SAMPLE_RATE / rate) - out)
            lengths.append(came)
    return behind, min(lengths), max(lengths)
