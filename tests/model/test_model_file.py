"""Model files: what is restored, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from streamtag.errors import ModelFileError, OutputError, SpecError, StreamtagError
from streamtag.model import (
    ConceptSpec,
    TaggerNetwork,
    load_tagger,
    save_tagger,
)
from streamtag.model.model_file import deserialize, serialize
from tests.model.conftest import check_refused, read_model


@pytest.fixture
def path(tagger: TaggerNetwork, tmp_path: Path) -> Path:
    save_tagger(tagger, tmp_path / "toy.safetensors")
    return tmp_path / "toy.safetensors"


def test_a_saved_model_gives_the_same_probabilities(tagger: TaggerNetwork, path: Path, music: Tensor) -> None:
    loaded = load_tagger(path)
    assert (loaded.tags, loaded.thresholds, loaded.card) == (tagger.tags, tagger.thresholds, tagger.card)
    assert (loaded.spec, loaded.normalization.spec, loaded.recurrent.spec) == (
        tagger.spec,
        tagger.normalization.spec,
        tagger.recurrent.spec,
    )
    audio = music[None, :50000]
    assert float((loaded(audio) - tagger(audio)).abs().max()) < 2e-3, "half precision costs little"
    assert not any(p.requires_grad for p in loaded.parameters())
    _, tensors = read_model(path)
    assert all(t.dtype == torch.float16 for name, t in tensors.items() if not name.startswith("normalization."))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for missing in (tmp_path / "no.safetensors", tmp_path):
        with pytest.raises(ModelFileError, match="no such model file"):
            load_tagger(missing)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file", b"\xff" * 4096, b"PK\x03\x04" + b"\0" * 100])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "x.safetensors"
    other.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"x\.safetensors: not a model file"):
        load_tagger(other)
    save_file({"a": torch.zeros(2)}, other)
    with pytest.raises(ModelFileError, match="not a streamtag model"):
        load_tagger(other)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match="damaged"):
        load_tagger(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(path: Path, value: float) -> None:
    metadata, tensors = read_model(path)
    tensors["head.weight"][1, 2] = value
    check_refused(path, metadata, tensors, r"head\.weight holds values that are not finite")


def _set(key: str, **changes: Any) -> Any:
    def change(metadata: dict[str, str], _: dict[str, Tensor]) -> None:
        metadata[key] = json.dumps({**json.loads(metadata[key]), **changes})

    return change


def _text(key: str, text: str) -> Any:
    return lambda metadata, _: metadata.update({key: text})


CONCEPT = ConceptSpec("many", "mood", ("tag 0", "tag 3"), 1.5, -0.25, None).to_dict()


def _concepts(*changes: dict[str, Any]) -> Any:
    return _text("concepts", json.dumps([{**CONCEPT, **change} for change in changes]))


DAMAGES = {
    "layers": (_set("network", layers=4), "missing or unknown tensors"),
    "hidden": (_set("network", hidden=64), "shape"),
    "inputs": (_set("network", inputs=300), "shape|inputs"),
    "huge": (_set("network", hidden=10**6), "parameters"),
    "zero": (_set("network", layers=0), "damaged model description"),
    "hop": (_set("scattering", hop=1), "damaged model description"),
    "unknown field": (_set("scattering", speed=3), "damaged model description"),
    "reset gate": (_set("network", reset_after=0), "damaged model description"),
    "S1 by S0": (_set("normalization", divide_s1="no"), "damaged model description"),
    "compression": (_set("normalization", compression="zip"), "damaged model description"),
    "no json": (_text("tags", "{"), "damaged model description"),
    "tags no list": (_text("tags", '"guitar"'), "damaged model description"),
    "too few tags": (_text("tags", '["a"]'), "do not fit"),
    "a tag twice": (_text("tags", '["a", "a", "b", "c", "d"]'), "do not fit"),
    "thresholds": (_text("thresholds", "[0.1, 0.2, 0.3, 0.4, NaN]"), "damaged model description"),
    "concepts no list": (_text("concepts", "{}"), "damaged model description: concepts must be a list"),
    "a concept no object": (_text("concepts", "[7]"), "damaged model description: ConceptSpec"),
    "a concept twice": (_concepts({}, {}), "do not fit: concepts: .* no name twice"),
    "an unknown tag": (_concepts({"tags": ["tag 9"]}), "many: 'tag 9' is not a tag of the model"),
    "a concept's threshold": (_concepts({"threshold": 1.5}), "many: threshold must lie between 0 and 1"),
    "card": (_text("card", "[]"), "damaged model description"),
    "no spec": (lambda metadata, _: metadata.pop("network"), "damaged model description"),
    "no tensor": (lambda _, tensors: tensors.pop("head.bias"), "head.bias"),
    "deviation": (lambda _, tensors: tensors["normalization.std"].zero_(), "above zero"),
    "whole numbers": (
        lambda _, tensors: tensors.update({"head.bias": torch.zeros(5, dtype=torch.int64)}),
        "head.bias",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_contents_that_do_not_fit_the_settings_are_refused(path: Path, name: str) -> None:
    change, message = DAMAGES[name]
    metadata, tensors = read_model(path)
    save_file(tensors, path, metadata)
    load_tagger(path)  # the control
    change(metadata, tensors)
    check_refused(path, metadata, tensors, message)


def test_concepts_are_stored_and_a_file_without_them_has_one_per_tag(path: Path) -> None:
    metadata, tensors = read_model(path)
    save_file(tensors, path, {**metadata, "concepts": json.dumps([CONCEPT])})
    loaded = load_tagger(path)
    assert loaded.concepts == (ConceptSpec("many", "mood", ("tag 0", "tag 3"), 1.5, -0.25, None),)
    save_tagger(loaded, path)
    assert load_tagger(path).concepts == loaded.concepts
    assert deserialize(*serialize(loaded)).concepts == loaded.concepts
    del metadata["concepts"]
    save_file(tensors, path, metadata)
    concepts = load_tagger(path).concepts
    assert [(concept.name, concept.tags) for concept in concepts] == [(f"tag {n}", (f"tag {n}",)) for n in range(5)]


def test_what_cannot_be_saved(tagger: TaggerNetwork, tmp_path: Path, path: Path) -> None:
    with pytest.raises(OutputError):
        save_tagger(tagger, tmp_path / "no folder" / "x.safetensors")
    loaded = load_tagger(path)
    loaded.head.weight[0, 0] = 1e6
    with pytest.raises(ModelFileError, match="half precision"):
        save_tagger(loaded, tmp_path / "x.safetensors")


def test_parts_that_do_not_fit(tagger: TaggerNetwork) -> None:
    with pytest.raises(SpecError, match="tags"):
        TaggerNetwork(tagger.front_end, tagger.normalization, tagger.recurrent, tagger.head, ["one"], [0.5], {})
    assert issubclass(SpecError, StreamtagError)
