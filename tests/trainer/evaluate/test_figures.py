"""All figures of a system on a split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamtag.errors import ManifestError, SourceError
from tests.trainer import synthetic_model
from trainer.data import magnatagatune
from trainer.data.manifest import Manifest
from trainer.evaluate.evaluated_model import ClipSound, EvaluatedModel
from trainer.evaluate.figures import Options, comparable, evaluate

TAGS = ("a", "b", "c")
SHORT = Options(draws=20, minutes=(2,), streams=8)


@pytest.fixture(scope="module")
def data() -> Manifest:
    return synthetic_model.set_without_sound(120, TAGS)


@pytest.fixture(scope="module")
def good(data: Manifest) -> dict[str, Any]:
    return figures(data)


def figures(data: Manifest, split: str = "test", heard: Manifest | None = None) -> dict[str, Any]:
    """Return those of a good system. heard: the clips that it hears, if they have other targets than these."""
    return evaluate(synthetic_model.evaluated_model(heard or data, 0.9, "x"), data, split, SHORT)[0]


def test_figures_of_a_good_system(good: dict[str, Any]) -> None:
    scores = good["scores"]
    assert scores["mean"]["roc_auc"] > 0.85
    assert scores["mean"]["scored_tags"] == 3
    low, high = scores["mean"]["roc_auc_interval"]
    assert low <= scores["mean"]["roc_auc"] <= high
    assert set(scores) == {"mean", "last", "learned"}
    assert scores["learned"]["roc_auc"] > 0.8
    assert good["intervals"]["groups"] == 8
    assert good["split"] == "test"
    assert good["clips"] == 40
    assert good["streaming"]["heard"]["mean"][0] < good["streaming"]["heard"]["mean"][-1]
    assert good["streaming"]["endless"]["minutes"] == [2]


def test_the_strongest_confusion_is_the_one_put_in(good: dict[str, Any]) -> None:
    strongest = good["confusion"]["strongest"][0]
    assert (strongest["tag"], strongest["heard"]) == ("a", "b")
    assert strongest["predicted"] > strongest["given"]


def test_a_tag_without_positives_is_reported_and_left_out(data: Manifest) -> None:
    teachers = data.teachers.copy()
    teachers[0, data.split("test"), 2] = 0.0
    found = figures(replace(data, teachers=teachers), heard=data)
    assert found["not_scored"] == {"c": "0 positives and 40 negatives, 1 needed of each"}
    assert found["scores"]["mean"]["scored_tags"] == 2
    assert found["tags"]["c"]["roc_auc"] is None
    assert found["tags"]["c"]["roc_auc_interval"] == [None, None]
    others = [found["tags"][tag]["roc_auc"] for tag in "ab"]
    assert found["scores"]["mean"]["roc_auc"] == pytest.approx(np.mean(others), abs=1e-4)


def test_pooling_is_never_learned_on_what_it_is_scored_on(data: Manifest) -> None:
    found = figures(data, "valid")
    assert "this very split" in found["scores"]["learned"]["missing"]
    without = data.without({data.clips[i].clip_id for i in data.split("valid")})
    assert "no validation split" in figures(without)["scores"]["learned"]["missing"]


@pytest.mark.parametrize("pooling", ["last", "learned"])
def test_clips_are_scored_by_the_pooling_asked_for(data: Manifest, good: dict[str, Any], pooling: str) -> None:
    model = synthetic_model.evaluated_model(data, 0.9, "good")
    found = evaluate(model, data, "test", replace(SHORT, pooling=pooling))[0]
    assert (good["pooling"], found["pooling"]) == ("mean", pooling)
    assert found["scores"] == good["scores"]
    for name, result in (("mean", good), (pooling, found)):
        assert result["parts"]["all"]["roc_auc"] == result["scores"][name]["roc_auc"]
        by_tag = [row["roc_auc"] for row in result["tags"].values()]
        assert result["scores"][name]["roc_auc"] == pytest.approx(np.mean(by_tag), abs=1e-4)
    assert found["calibration"] != good["calibration"]


def test_pooling_that_cannot_be_learned_cannot_be_asked_for(data: Manifest) -> None:
    model = synthetic_model.evaluated_model(data, 0.9, "x")
    with pytest.raises(ManifestError, match="no learned pooling for x: it is fitted on this very split"):
        evaluate(model, data, "valid", replace(SHORT, pooling="learned"))


def test_whole_clip_systems_have_no_streaming_figures(data: Manifest) -> None:
    def predict(clips: np.ndarray) -> Iterator[np.ndarray]:
        for clip in clips:
            yield data.teachers[0, clip][None] * 0.8 + 0.1

    whole = EvaluatedModel({"name": "whole clips"}, predict, hop_s=29.1, lookahead_s=0.0)
    found = evaluate(whole, data, "test", SHORT)[0]
    assert found["scores"]["mean"]["roc_auc"] == 1.0
    assert found["streaming"] == {"missing": "it hears whole clips"}
    assert "more than one frame" in found["scores"]["learned"]["missing"]


def test_without_its_sound_a_model_has_no_cross_fade(data: Manifest, good: dict[str, Any]) -> None:
    def read(clip: int) -> np.ndarray:
        raise SourceError(f"{clip}.mp3: no audio in it")

    model = synthetic_model.evaluated_model(data, 0.9, "x")
    lost = replace(model, sound=ClipSound(16000, read, lambda samples: samples))
    found = evaluate(lost, data, "test", SHORT)[0]["streaming"]
    assert re.fullmatch(r"sound is missing: \d+\.mp3: no audio in it", found["cross_fade"]["missing"])
    assert found["song_change"] == good["streaming"]["song_change"], "that needs none"


def test_kinds_are_parts_of_the_whole(data: Manifest) -> None:
    clips = tuple(replace(clip, kind="odd" if n % 2 else "even") for n, clip in enumerate(data.clips))
    found = figures(replace(data, clips=clips))
    assert set(found["parts"]) == {"all", "odd", "even"}
    assert sum(found["parts"][kind]["clips"] for kind in ("odd", "even")) == found["parts"]["all"]["clips"] == 40


def test_only_the_whole_split_compares_with_others(data: Manifest) -> None:
    whole = synthetic_model.set_without_sound(
        3 * magnatagatune.TAGGED["test"], TAGS, description=magnatagatune.DESCRIPTION
    )
    assert comparable(whole, "test")
    assert not comparable(whole, "train")
    assert comparable(whole.without({"2", "5"}), "test"), "two that are broken change little"
    assert not comparable(whole.without({str(n) for n in range(0, 300)}), "test")
    assert not comparable(replace(whole, description="another set"), "test")
    assert not comparable(data, "test")
