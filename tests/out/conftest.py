"""Frames to write, show and draw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.live.frame import TagFrame
from streamtag.out.selection import Selection
from streamtag.out.timeline import Timeline

TAGS = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
MakeFrames = Callable[[NDArray[np.float64]], list[TagFrame]]
MakeTimeline = Callable[..., Timeline]


def _frames(probs: NDArray[np.float64]) -> list[TagFrame]:
    return [TagFrame(k, 0.256 * k - 0.256, 0.256 * k + 0.256, row.astype(np.float32)) for k, row in enumerate(probs)]


@pytest.fixture
def make_frames() -> MakeFrames:
    """probs [F, P] -> its frames."""
    return _frames


@pytest.fixture
def make_timeline() -> MakeTimeline:
    """probs [F, P] -> a timeline of its frames."""

    def make(probs: NDArray[np.float64], name: str = "song.mp3", seconds: float | None = None) -> Timeline:
        timeline = Timeline(name, TAGS[: probs.shape[1]])
        for frame in _frames(probs):
            timeline.add(frame)
        timeline.seconds = 0.256 * len(probs) if seconds is None else seconds
        return timeline

    return make


@pytest.fixture
def selection() -> Selection:
    """All six tags, thresholds 0.5 but for harp, which is rare: 0.1."""
    return Selection.of(TAGS, (0.5, 0.5, 0.5, 0.5, 0.5, 0.1))


@pytest.fixture
def probs() -> NDArray[np.float64]:
    """[40, 6]: guitar grows, drums end half way, the rest is weak, harp just above its threshold."""
    values = np.full((40, 6), 0.05)
    values[:, 0] = np.linspace(0.2, 0.98, 40)
    values[:20, 2] = 0.9
    values[:, 5] = 0.12
    values[30, 5] = 0.3
    return values
