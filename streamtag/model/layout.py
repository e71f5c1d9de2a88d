"""Which scattering paths are computed from short windows at the full rate, and which from long ones at low rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamtag.model.cascade import LowPassWindow, PhiWeights
from streamtag.model.filterbank import FilterBank, envelope_band
from streamtag.spec import ScatteringSpec

AUDIO_RATE = 8  # the long windows hold the audio at 1/8 of its rate
BAND_RATE = 32  # and the envelopes of the short wavelets at 1/32
HOPS_BEFORE, HOPS_AFTER = 3, 1  # the hops before and after a frame's own that φ still covers
REACH = 4.0  # a Gaussian ends, in time and in frequency, after this many of its widths: 6e-5 is left

BandLengths = tuple[tuple[float, ...], tuple[float, ...]]  # lengths of bands as fractions of a window, by order


@dataclass(frozen=True)
class Layout:
    """The bank's wavelets and paths by the length of their support, and the windows' positions in time (samples).

    The first-order wavelets `short` and the second-order paths `short_pairs` fit the `margin` on either side of a
    hop; `long` and `long_pairs` are the others. A hop's window (`block`) is the hop with its margins.
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
    def short_pairs(self) -> list[tuple[int, int]]:
        return [pair for pair in self.bank.pairs if REACH * self._support(*pair) <= self.margin]

    @property
    def long_pairs(self) -> list[tuple[int, int]]:
        return [pair for pair in self.bank.pairs if REACH * self._support(*pair) > self.margin]

    def _support(self, n1: int, n2: int) -> float:
        return math.hypot(self.bank.first[n1].sigma_t, self.bank.second[n2].sigma_t)

    @property
    def audio_edge(self) -> float:
        """The highest frequency of the audio that the long windows must hold, in cycles per sample."""
        return max(self.bank.first[n].xi + REACH * self.bank.first[n].sigma for n in self.long)

    @property
    def band_edge(self) -> float:
        """The highest frequency of the short wavelets' envelopes that the long windows must hold."""
        short = set(self.short)
        bands = [envelope_band(self.bank.first[a], self.bank.second[b]) for a, b in self.long_pairs if a in short]
        return max(centre + REACH * width for centre, width in bands)

    @property
    def _origin(self) -> int:
        """A hop's window begins this long after the centre of the frame that the hop completes."""
        return self.spec.lookahead - self.block

    def hop_weights(self) -> PhiWeights:
        """Return φ for a hop's part in the previous frame, its own and the next three.

        The last column is for its own frame when the hop has just arrived: it includes the envelopes of the last
        margin, which later hops still change.
        """
        final = (self.margin, self.margin + self.hop)
        columns = [
            LowPassWindow(frame * self.hop - self._origin, *final) for frame in range(-HOPS_AFTER, HOPS_BEFORE + 1)
        ]
        provisional = LowPassWindow(-self._origin, self.margin, self.block, fade=self.margin)
        return PhiWeights(self.bank, self.block, (*columns, provisional))

    def span(self, frames: int) -> int:
        """Return the length in samples of the long window of so many successive frames."""
        return (HOPS_BEFORE + frames + HOPS_AFTER) * self.hop

    def span_weights(self, frames: int) -> PhiWeights:
        """Return φ for the frames of a long window."""
        first = HOPS_BEFORE * self.hop - self._origin - self.margin
        span = self.span(frames)
        return PhiWeights(self.bank, span, tuple(LowPassWindow(first + n * self.hop, 0, span) for n in range(frames)))


def lengths_in_points(span: int, lengths: BandLengths) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the lengths of bands of a window of `span` samples in points, even numbers, by order."""
    first, second = (tuple(2 * round(span * length / 2) for length in order) for order in lengths)
    return first, second
