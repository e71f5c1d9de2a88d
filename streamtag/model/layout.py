"""Which scattering paths are computed from short windows at the full rate and which from long ones at low rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streamtag.model.cascade import LowPassWindow, PhiWeights
from streamtag.model.filterbank import FilterBank, envelope_band
from streamtag.spec import ScatteringSpec

AUDIO_RATE = 8  # the long windows hold the audio at 1/8 of its rate
BAND_RATE = 32  # and the short wavelets' envelopes at 1/32
BEFORE, AFTER = 3, 1  # the hops before and after a frame's own that φ still reaches
REACH = 4.0  # a Gaussian band ends, in time and in frequency, after this many of its widths: 6e-5 is left

Parts = tuple[tuple[float, ...], tuple[float, ...]]  # lengths of bands as parts of a window, by order


@dataclass(frozen=True)
class Layout:
    """The bank's wavelets and paths by the length of their support, and the windows' places in time (samples).

    `short` first-order wavelets and `quick` second-order paths fit the `margin` on both sides of a hop; `long`
    and `slow` are the others. A hop's window (`block`) is the hop with its margins.
    """

    spec: ScatteringSpec
    bank: FilterBank

    @property
    def hop(self) -> int:
        return self.spec.hop

    @property
    def margin(self) -> int:
        return self.hop // 8

    @property
    def block(self) -> int:
        return self.hop + 2 * self.margin

    @property
    def short(self) -> list[int]:
        return [n for n, psi in enumerate(self.bank.first) if REACH * psi.sigma_t <= self.margin]

    @property
    def long(self) -> list[int]:
        return [n for n, psi in enumerate(self.bank.first) if REACH * psi.sigma_t > self.margin]

    @property
    def quick(self) -> list[tuple[int, int]]:
        return [pair for pair in self.bank.pairs if REACH * self._support(*pair) <= self.margin]

    @property
    def slow(self) -> list[tuple[int, int]]:
        return [pair for pair in self.bank.pairs if REACH * self._support(*pair) > self.margin]

    def _support(self, n1: int, n2: int) -> float:
        return math.hypot(self.bank.first[n1].sigma_t, self.bank.second[n2].sigma_t)

    @property
    def audio_edge(self) -> float:
        """The highest frequency of the audio that the long windows must hold, in cycles a sample."""
        return max(self.bank.first[n].xi + REACH * self.bank.first[n].sigma for n in self.long)

    @property
    def band_edge(self) -> float:
        """The same of the short wavelets' envelopes."""
        short = set(self.short)
        bands = [envelope_band(self.bank.first[a], self.bank.second[b]) for a, b in self.slow if a in short]
        return max(centre + REACH * width for centre, width in bands)

    @property
    def _origin(self) -> int:
        """A hop's window begins this long after the centre of the frame that the hop completes."""
        return self.spec.lookahead - self.block

    def hop_weights(self) -> PhiWeights:
        """A hop's part in the frame before its own, in its own and in the next three; last, in its own when the
        hop has just arrived: then with the envelopes of the last margin, which later hops still change."""
        final = (self.margin, self.margin + self.hop)
        columns = [LowPassWindow(frame * self.hop - self._origin, *final) for frame in range(-AFTER, BEFORE + 1)]
        now = LowPassWindow(-self._origin, self.margin, self.block, fade=self.margin)
        return PhiWeights(self.bank, self.block, (*columns, now))

    def span(self, frames: int) -> int:
        """The long window of so many successive frames, in samples."""
        return (BEFORE + frames + AFTER) * self.hop

    def span_weights(self, frames: int) -> PhiWeights:
        first = BEFORE * self.hop - self._origin - self.margin
        span = self.span(frames)
        return PhiWeights(self.bank, span, tuple(LowPassWindow(first + n * self.hop, 0, span) for n in range(frames)))


def sizes(span: int, parts: Sequence[float]) -> tuple[int, ...]:
    """Lengths in points, each an even number."""
    return tuple(2 * round(span * part / 2) for part in parts)
