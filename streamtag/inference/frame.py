"""Frames of one stream: their numbers, their places in time, and which of them are missing because audio was lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamtag.spec import FrontEndSpec

NO_PROBS: NDArray[np.float32] = np.zeros(0, np.float32)
RECEPTIVE_FIELD_HOPS = 8  # after so many hops of silence the front end holds nothing else


@dataclass(frozen=True, slots=True)
class TagFrame:
    """The probabilities [tags] of the window from start to end, in stream seconds; the first start is negative.

    concept_probs [K]: of the concepts, in the model's order.
    latency_s: of a live stream, how long after the sound at the window's centre the probabilities were available.
    """

    index: int
    start: float
    end: float
    probs: NDArray[np.float32]
    latency_s: float | None = None
    concept_probs: NDArray[np.float32] = field(default_factory=lambda: NO_PROBS)

    @classmethod
    def at(
        cls,
        index: int,
        spec: FrontEndSpec,
        probs: NDArray[np.float32],
        concept_probs: NDArray[np.float32] = NO_PROBS,
        start_s: float = 0.0,
    ) -> Self:
        """Return the frame with this number, centred at sample hop * index of a stream that begins at start_s."""
        centre, half, rate = index * spec.hop, spec.window / 2, spec.sample_rate
        start, end = start_s + (centre - half) / rate, start_s + (centre + half) / rate
        return cls(index, start, end, probs, None, concept_probs)

    @property
    def time(self) -> float:
        """The window's centre in seconds."""
        return (self.start + self.end) / 2


class StreamPosition:
    """Count the samples and frames of one stream, and hold its recent gaps.

    samples: fed so far, gaps included; frames: numbered so far; gaps: first sample and end of each gap that later
    frames can lie in. start_s: the time of the first sample, in seconds.
    """

    def __init__(
        self,
        spec: FrontEndSpec,
        samples: int = 0,
        frames: int = 0,
        gaps: tuple[tuple[int, int], ...] = (),
        start_s: float = 0.0,
    ) -> None:
        """Start a new stream, or continue one at these counts."""
        self.samples, self.frames, self.gaps, self.start_s = samples, frames, gaps, start_s
        self.has_ended = False
        self._spec = spec

    @property
    def seconds(self) -> float:
        """Length of the stream so far in seconds, gaps included."""
        return self.samples / self._spec.sample_rate

    def check_open(self) -> None:
        """Raise ValueError if the stream has ended."""
        if self.has_ended:
            raise ValueError("the stream has ended: call reset() to begin another")

    def insert_gap(self, samples: int) -> tuple[int, int]:
        """Advance by a gap and return the silence that stands for it, in samples, and the hops to skip after it.

        A long gap costs no more than a short one: when the front end holds nothing but silence, the other hops
        change nothing. Raises ValueError if the stream has ended or samples is not positive.
        """
        self.check_open()
        if samples <= 0:
            raise ValueError(f"a gap must have at least 1 sample, not {samples}")
        self.gaps += ((self.samples, self.samples + samples),)
        self.samples += samples
        skipped = max(0, samples // self._spec.hop - RECEPTIVE_FIELD_HOPS)
        return samples - skipped * self._spec.hop, skipped

    def next_frame(self, probs: NDArray[np.float32], concept_probs: NDArray[np.float32]) -> TagFrame | None:
        """Return the next frame with these probabilities [tags] and [concepts], or None if its centre is in a gap."""
        index, centre = self.frames, self.frames * self._spec.hop
        self.frames += 1
        if self.gaps:
            is_missing = any(start <= centre < end for start, end in self.gaps)
            self.gaps = tuple(gap for gap in self.gaps if gap[1] > centre + self._spec.hop)
            if is_missing:
                return None
        return TagFrame.at(index, self._spec, probs, concept_probs, self.start_s)
