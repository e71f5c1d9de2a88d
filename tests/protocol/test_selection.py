"""Which tags are shown, how many, and from where on they count."""

from __future__ import annotations

import numpy as np
import pytest

from streamtag.errors import SpecError
from streamtag.protocol.messages import Frame
from streamtag.protocol.selection import Selection

TAGS = ("guitar", "slow", "drums", "male vocal")
THRESHOLDS = (0.4, 0.5, 0.3, 0.2)
PROBS = np.array([0.2, 0.1, 0.9, 0.6])


def thin(selection: Selection) -> dict[str, float]:
    """What is left of PROBS in a message."""
    thinned = selection.message_filter(
        Frame("song.mp3", 0, -0.256, 0.256, dict(zip(TAGS, PROBS.tolist(), strict=True)))
    )
    assert isinstance(thinned, Frame)
    return dict(thinned.tags)


def test_without_a_choice_frames_hold_every_tag_in_the_models_order() -> None:
    assert list(thin(Selection.of(TAGS, THRESHOLDS)).items()) == [
        ("guitar", 0.2),
        ("slow", 0.1),
        ("drums", 0.9),
        ("male vocal", 0.6),
    ]


def test_top_keeps_the_strongest_first() -> None:
    thinned = thin(Selection.of(TAGS, THRESHOLDS, top=2))
    assert list(thinned.items()) == [("drums", 0.9), ("male vocal", 0.6)]


def test_tags_are_found_in_any_case_and_kept_in_the_models_order() -> None:
    chosen = Selection.of(TAGS, THRESHOLDS, names=[" Male Vocal", "GUITAR", "guitar", ""])
    assert chosen.names == ("guitar", "male vocal")
    assert thin(chosen) == {"guitar": 0.2, "male vocal": 0.6}


def test_top_picks_among_the_wanted_tags_only() -> None:
    assert thin(Selection.of(TAGS, THRESHOLDS, names=["slow", "guitar"], top=1)) == {"guitar": 0.2}


def test_equal_tags_keep_the_models_order() -> None:
    assert Selection.of(TAGS, THRESHOLDS).strongest(np.full(4, 0.5)) == [0, 1, 2, 3]


def test_a_default_number_gives_way_to_the_users() -> None:
    assert len(Selection.of(TAGS, THRESHOLDS).strongest(PROBS, 2)) == 2
    assert len(Selection.of(TAGS, THRESHOLDS, top=3).strongest(PROBS, 2)) == 3


def test_one_threshold_stands_in_for_the_models() -> None:
    assert Selection.of(TAGS, THRESHOLDS).thresholds == THRESHOLDS
    assert Selection.of(TAGS, THRESHOLDS, threshold=0.7).thresholds == (0.7,) * 4


def test_an_unknown_tag_is_named_with_its_nearest_neighbour() -> None:
    with pytest.raises(SpecError, match=r"^guitarr: not a tag of this model \(did you mean 'guitar'\?\)"):
        Selection.of(TAGS, THRESHOLDS, names=["guitarr"])
    with pytest.raises(SpecError, match=r"^xyzzy: not a tag of this model; "):
        Selection.of(TAGS, THRESHOLDS, names=["xyzzy"])


@pytest.mark.parametrize("settings", [{"names": [" "]}, {"top": 0}, {"threshold": 1.5}, {"threshold": float("nan")}])
def test_settings_that_choose_nothing_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        Selection.of(TAGS, THRESHOLDS, **settings)  # type: ignore[arg-type]


def test_every_tag_needs_a_threshold() -> None:
    with pytest.raises(SpecError, match="4 tags"):
        Selection.of(TAGS, THRESHOLDS[:3])
