"""Tags heard in others: beyond what going together explains."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluate.confusion import confusion


def clips() -> np.ndarray:
    """Six clips, three tags: the first two go together, nobody has a fourth."""
    given = np.zeros((6, 4), dtype=np.bool_)
    given[:4, 0] = True
    given[:3, 1] = True
    given[4:, 2] = True
    return given


def test_going_together_is_no_confusion() -> None:
    given = clips()
    found = confusion(given.astype(np.float32), given)
    assert found.given[0, 1] == pytest.approx(0.75)
    assert np.nanmax(np.abs(found.excess)) == 0.0


def test_a_tag_heard_in_another_is_the_strongest() -> None:
    given = clips()
    predicted = given.astype(np.float32)
    predicted[:4, 2] = 0.8
    found = confusion(predicted, given)
    assert found.strongest(2)[0] in ((0, 2), (1, 2))
    assert found.excess[0, 2] == pytest.approx(0.8)
    assert found.excess[2, 0] == 0.0


def test_a_tag_that_no_clip_has_is_no_row() -> None:
    found = confusion(clips().astype(np.float32), clips())
    assert np.isnan(found.excess[3]).all()
    assert np.isfinite(found.excess[:3]).all()
    assert all(i != 3 and i != j for i, j in found.strongest(100))
