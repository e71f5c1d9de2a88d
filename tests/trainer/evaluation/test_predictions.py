"""What was said by when: running means, the last word, clips of different lengths."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluate.predictions import collect


def clip(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_mean_and_last_of_clips_of_different_lengths() -> None:
    found = collect([clip(0.0, 0.5, 1.0), clip(0.2, 0.4)], hop_s=0.25, lookahead_s=0.375, every_s=0.25)
    assert found.mean()[:, 0] == pytest.approx([0.5, 0.3])
    assert found.last()[:, 0] == pytest.approx([1.0, 0.4])
    assert list(found.count) == [3, 2]
    assert found.heard_s == pytest.approx([0.375, 0.625, 0.875])


def test_nothing_is_said_before_the_first_frame_is_heard() -> None:
    found = collect([clip(0.0, 0.5, 1.0)], 0.25, 0.375, 0.25)
    assert found.after(0.37) is None
    first, second = found.after(0.375), found.after(0.7)
    assert first is not None
    assert second is not None
    assert first[0][0, 0] == 0.0
    assert [float(part[0, 0]) for part in second] == pytest.approx([0.25, 0.5])


def test_the_future_does_not_change_what_was_said() -> None:
    a, b = (collect([clip(0.1, 0.2, last)], 0.25, 0.0, 0.25) for last in (0.3, 0.9))
    for seconds in (0.0, 0.25):
        then = a.after(seconds), b.after(seconds)
        assert then[0] is not None
        assert then[1] is not None
        assert np.array_equal(then[0], then[1])
    assert not np.array_equal(a.mean(), b.mean())


def test_thinned_frames_keep_the_whole_mean_and_the_end() -> None:
    rng = np.random.default_rng(0)
    values = [rng.random((length, 2)).astype(np.float32) for length in (103, 80, 7)]
    found = collect(values, hop_s=0.016, lookahead_s=0.016, every_s=0.256)
    assert found.frames.shape == (3, 7, 2)
    assert found.mean() == pytest.approx(np.stack([v.mean(axis=0) for v in values]), abs=1e-6)
    assert np.array_equal(found.last(), np.stack([v[-1] for v in values]))
    soon = found.after(0.256)
    assert soon is not None
    assert soon[0][0] == pytest.approx(values[0][:16].mean(axis=0), abs=1e-6)
    assert found.heard_s[:2] == pytest.approx([0.256, 0.512])


@pytest.mark.parametrize("length", [1, 15, 16, 17])
def test_one_place_at_least(length: int) -> None:
    found = collect([np.linspace(0, 1, length, dtype=np.float32)[:, None]], 0.016, 0.016, 0.256)
    assert found.last()[0, 0] == (1.0 if length > 1 else 0.0)
