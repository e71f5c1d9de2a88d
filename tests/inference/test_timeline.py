"""All frames of a stream, in little memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import INITIAL_ROWS, Timeline, interval_means


def _filled(frames: int, tags: int = 3) -> tuple[Timeline, np.ndarray]:
    probs = np.random.default_rng(5).random((frames, tags), np.float32)
    timeline = Timeline("song.mp3", tuple(f"tag {index}" for index in range(tags)))
    for index, row in enumerate(probs):
        timeline.add(TagFrame(index, 0.256 * index - 0.256, 0.256 * index + 0.256, row))
    return timeline, probs


@pytest.mark.parametrize("frames", [1, INITIAL_ROWS - 1, INITIAL_ROWS, INITIAL_ROWS + 1, 5 * INITIAL_ROWS])
def test_what_goes_in_comes_out(frames: int) -> None:
    timeline, probs = _filled(frames)
    assert Timeline("song.mp3", ("a", "b")).means.tolist() == [0.0, 0.0]
    assert len(timeline) == frames
    np.testing.assert_array_equal(timeline.probs, probs)
    np.testing.assert_allclose(timeline.times, 0.256 * np.arange(frames))
    np.testing.assert_allclose(timeline.means, probs.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("frames", [40, 63, 64, 65, 1000, 4097])
def test_an_endless_stream_keeps_its_course_its_means_and_its_peaks_in_few_rows(frames: int) -> None:
    probs = np.random.default_rng(6).random((frames, 2), np.float32)
    timeline = Timeline("mic", ("a", "b"), max_rows=64)
    for index, row in enumerate(probs):
        timeline.add(TagFrame(index, 0.256 * index - 0.256, 0.256 * index + 0.256, row))
    assert len(timeline) == frames
    np.testing.assert_allclose(timeline.means, probs.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(timeline.peaks, probs.max(axis=0))
    np.testing.assert_allclose(timeline.peak_times, 0.256 * probs.argmax(axis=0))
    rows = len(timeline.probs)
    assert rows <= 64
    merged = 1 << max(0, (frames - 1).bit_length() - 6)  # frames a row, the smallest power of two that fits
    assert rows == -(-frames // merged)
    full = frames // merged * merged
    expected = probs[:full].reshape(-1, merged, 2).mean(axis=1)
    np.testing.assert_allclose(timeline.probs[: len(expected)], expected, rtol=1e-4)
    np.testing.assert_allclose(timeline.times[0], 0.128 * (merged - 1))


@given(st.integers(0, 200), st.integers(1, 60))
def test_every_value_counts_once(count: int, cells: int) -> None:
    values = np.random.default_rng(count).random(count)
    heights = interval_means(values, cells)
    assert len(heights) == min(count, cells)
    if count:
        assert values.min() - 1e-12 <= heights.min()
        assert heights.max() <= values.max() + 1e-12
        edges = np.arange(len(heights) + 1) * count // len(heights)
        assert (heights * np.diff(edges)).sum() == pytest.approx(values.sum())
