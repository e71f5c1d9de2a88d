"""Any sample rate and any number of channels become mono at the rate of the front end, chunk by chunk."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from streamtag.errors import SpecError

SAMPLE_RATE = 16000  # Hz, what the front end hears
MIN_RATE, MAX_RATE = (
    1000,
    4_000_000,
)  # Hz; a rate outside is a damaged header, and would ask soxr for absurd buffers
LIMIT = 8.0  # of full scale: float files may exceed 1 a little, but one stray 1e30 would ring for seconds


class Resampler:
    """Mean of the channels, then soxr ("HQ"), as a stream: how the input is cut does not change the output.

    Samples that are not finite become 0 (`repaired` counts them) and all are clipped to ±LIMIT, so that
    nothing poisons what follows. Mono input at the target rate passes through otherwise untouched.
    The number of channels may change from chunk to chunk. Owned by one thread.
    """

    def __init__(self, rate: int, target: int = SAMPLE_RATE) -> None:
        """rate, target: Hz. Raises SpecError if soxr could not sensibly convert one into the other."""
        for value in (rate, target):
            if not MIN_RATE <= value <= MAX_RATE:
                raise SpecError(f"a sample rate of {value} Hz: must lie between {MIN_RATE} and {MAX_RATE} Hz")
        self.rate = rate
        self.repaired = 0
        same = rate == target
        self._soxr = None if same else soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")

    def feed(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """chunk [n, channels] (or [n]) -> [m], what can be given out already; m may be 0."""
        if chunk.ndim not in (1, 2) or 0 in chunk.shape[1:]:
            raise ValueError(f"a chunk must be [samples, channels], not {list(chunk.shape)}")
        mono = self._mono(chunk)
        if self._soxr is None or not len(mono):
            return mono
        out: NDArray[np.float32] = self._soxr.resample_chunk(mono)
        return out

    def flush(self) -> NDArray[np.float32]:
        """-> [m], what was still owed. The next feed begins a new stream."""
        if self._soxr is None:
            return np.zeros(0, np.float32)
        out: NDArray[np.float32] = self._soxr.resample_chunk(np.zeros(0, np.float32), last=True)
        self._soxr.clear()
        return out

    def _mono(self, chunk: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, channels] -> [n], finite and bounded. Always a copy: the caller may reuse its buffer."""
        bad = ~np.isfinite(chunk)
        if bad.any():
            self.repaired += int(np.count_nonzero(bad))
            chunk = np.where(bad, np.float32(0), chunk)
        clean = np.clip(chunk, -LIMIT, LIMIT).astype(np.float32, copy=False)
        if clean.ndim == 1:
            return clean
        if clean.shape[1] == 1:
            return np.ascontiguousarray(clean[:, 0])
        # column by column: the same sum for every cut, and faster than a reduction over so short an axis
        total = clean[:, 0].copy()
        for channel in range(1, clean.shape[1]):
            total += clean[:, channel]
        total /= np.float32(clean.shape[1])
        return total
