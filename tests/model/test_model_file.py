"""Model files: what is restored, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from streamtag.errors import ModelFileError, OutputError, SpecError, StreamtagError
from streamtag.model import (
    ConceptSpec,
    Normalization,
    NormalizationSpec,
    Scattering,
    TaggerNetwork,
    load_tagger,
    save_tagger,
)
from streamtag.model.model_file import deserialize, serialize
from streamtag.spec import Cell, CqtSpec, MelSpec
from tests.model.conftest import by_time, make_tagger, stack


@pytest.fixture
def path(tagger: TaggerNetwork, tmp_path: Path) -> Path:
    save_tagger(tagger, tmp_path / "toy.safetensors")
    return tmp_path / "toy.safetensors"


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


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


@pytest.mark.parametrize("cell", ["LSTM", "BN-LSTM"])
def test_other_cells_are_restored(scattering: Scattering, cell: Cell, tmp_path: Path, music: Tensor) -> None:
    tagger = make_tagger(scattering, stack(cell))
    save_tagger(tagger, tmp_path / "x.safetensors")
    loaded = load_tagger(tmp_path / "x.safetensors")
    assert loaded.recurrent.spec == tagger.recurrent.spec
    audio = music[None, :50000]
    assert float((loaded(audio) - tagger(audio)).abs().max()) < 2e-3
    again = deserialize(*serialize(tagger))
    assert torch.equal(again(audio), tagger(audio))
    metadata, tensors = read(tmp_path / "x.safetensors")
    assert all((t.dtype == torch.float32) == ("gain" in n or "offset" in n or "norm" in n) for n, t in tensors.items())
    for other in ("GRU", "CNN 2"):  # the weights are those of another network, or no network has this name
        network = json.dumps({**json.loads(metadata["network"]), "cell": other})
        save_file(tensors, tmp_path / "y.safetensors", metadata={**metadata, "network": network})
        with pytest.raises(ModelFileError, match=r"missing or unknown tensors|unknown cell 'CNN 2'"):
            load_tagger(tmp_path / "y.safetensors")


WINDOW_DAMAGES: dict[str, tuple[tuple[dict[str, Any], str], ...]] = {
    "CNN 2": (
        ({"family": "transformer"}, "a network of recurrent, convolutional, transposed is needed, not 'transformer'"),
        ({"family": ["recurrent"]}, "is needed, not"),
        ({"family": "recurrent"}, "NetworkSpec: missing or unknown fields"),
        ({"blocks": [[9, 2], [4, 3], [2, 0]]}, "blocks must be pairs of sizes"),
        ({"blocks": [[9, 2], [4, 3], [2]]}, "blocks must be pairs of sizes"),
        ({"blocks": [[9, 2]]}, "as many channels as blocks"),
        ({"blocks": 7}, "blocks must be pairs"),
        ({"channels": [5, 6, 32]}, "has shape"),
        ({"channels": [4, 6, 33]}, "the last of the channels must be hidden"),
        ({"channels": [65536, 6, 32]}, "a stage has more than"),
        ({"channels": ["4", 6, 32]}, "channels must be whole numbers"),
        ({"hop": 2, "stride": 8}, "settings that do not fit: network: 2 frames per hop"),
        ({"stride": 6, "hop": 4}, "stride must be a multiple of hop"),
        ({"stride": 12}, "stride must not exceed frames"),
        ({"frames": 10**9}, "a window has more than"),
        ({"frames": 200_000}, "a stage has more than|a state has more than"),
        ({"carried": 4}, "carried must not exceed"),
        ({"carried": 0}, "carried must be a positive"),
        ({"carried": 3}, "too narrow or too wide"),
        ({"blocks": [[9, 1], [4, 1], [2, 1]]}, "too narrow"),
        ({"frames": 0}, "frames must be a positive whole number"),
    ),
    "transposed GRU": (
        ({"steps": 10**9}, "of more than"),
        ({"steps": 8}, "has shape"),
        ({"cell": "BN-LSTM"}, "unknown cell 'BN-LSTM' of a transposed network"),
        ({"cell": "LSTM"}, "missing or unknown tensors"),
        ({"layers": 10**6}, "a network of more than"),
    ),
}


@pytest.mark.parametrize("kind", WINDOW_DAMAGES)
def test_networks_of_a_window_are_restored(scattering: Scattering, kind: str, tmp_path: Path, music: Tensor) -> None:
    tagger = make_tagger(scattering, stack(kind))
    save_tagger(tagger, tmp_path / "x.safetensors")
    loaded = load_tagger(tmp_path / "x.safetensors")
    assert loaded.recurrent.spec == tagger.recurrent.spec
    audio = music[None, :50000]
    assert float((loaded(audio) - tagger(audio)).abs().max()) < 2e-3
    assert torch.equal(deserialize(*serialize(tagger))(audio), tagger(audio))
    metadata, tensors = read(tmp_path / "x.safetensors")
    network = json.loads(metadata["network"])
    damages = [(json.dumps({**network, **changed}), message) for changed, message in WINDOW_DAMAGES[kind]]
    for text, message in [*damages, ("7", "the network must be an object")]:
        save_file(tensors, tmp_path / "y.safetensors", metadata={**metadata, "network": text})
        with pytest.raises(ModelFileError, match=message) as caught:
            load_tagger(tmp_path / "y.safetensors")
        assert "\n" not in str(caught.value)
    if kind == "CNN 2":
        tensors["stages.0.variance"][1] = -1.0
        save_file(tensors, tmp_path / "y.safetensors", metadata=metadata)
        with pytest.raises(ModelFileError, match=r"stages\.0\.variance must not be below zero"):
            load_tagger(tmp_path / "y.safetensors")


@pytest.mark.parametrize("kind", ["mel", "cqt"])
def test_other_front_ends_are_restored(kind: str, path: Path, tmp_path: Path, music: Tensor) -> None:
    tagger = by_time(kind)
    save_tagger(tagger, tmp_path / "x.safetensors")
    loaded = load_tagger(tmp_path / "x.safetensors")
    assert (loaded.spec, loaded.recurrent.spec) == (tagger.spec, tagger.recurrent.spec)
    audio = music[None, :50000]
    assert float((loaded(audio) - tagger(audio)).abs().max()) < 2e-3
    assert torch.equal(deserialize(*serialize(tagger))(audio), tagger(audio))
    metadata, tensors = read(tmp_path / "x.safetensors")
    scattering, spec = read(path)[0], json.loads(metadata[kind])
    newer = {"wavelet" if key == kind else key: text for key, text in metadata.items()}
    for changed, message in (
        ({**metadata, "scattering": scattering["scattering"]}, f"one front end .* is needed, not scattering, {kind}"),
        (newer, "one front end of scattering, mel, cqt is needed, not another"),
        ({**metadata, "normalization": scattering["normalization"]}, f"a normalization that is not that of {kind}"),
        ({**metadata, kind: json.dumps({**spec, "bins": 40})}, "normalization.mean has shape"),
        ({**metadata, kind: json.dumps({**spec, "floor": "low"})}, "floor must lie between"),
        ({**metadata, kind: json.dumps({**spec, "spacing": 1000})}, "hop must be a multiple of spacing"),
        ({**metadata, kind: json.dumps({**spec, "hop": 2**40, "window": 2**41})}, "1.5 hops"),
        ({**metadata, kind: "7"}, "damaged model description"),
        ({**scattering, "network": metadata["network"]}, "missing or unknown|has shape|inputs"),
    ):
        save_file(tensors, tmp_path / "y.safetensors", metadata=changed)
        with pytest.raises(ModelFileError, match=message) as caught:
            load_tagger(tmp_path / "y.safetensors")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (MelSpec, {"n_fft": 255}, "even"),
        (MelSpec, {"bins": 300}, "half as many bins"),
        (MelSpec, {"n_fft": 16384}, "more audio than the look-ahead"),
        (MelSpec, {"hop": 2**20, "window": 2**21, "lookahead": 3 * 2**19}, "too long"),
        (CqtSpec, {"bins": 110}, "below half the sample rate"),
        (CqtSpec, {"bins": 10**9}, "20 octaves"),
        (CqtSpec, {"bins_per_octave": 10**9}, "bins per octave"),
        (CqtSpec, {"lowest_hz": 16.35}, "more audio than the look-ahead"),
        (CqtSpec, {"lowest_hz": float("nan")}, "frequency"),
    ],
)
def test_settings_of_spectrograms_that_cannot_be(spec: Any, changes: dict[str, Any], message: str) -> None:
    spec()
    with pytest.raises(SpecError, match=message):
        spec(**changes)


def test_files_from_before_there_were_choices_mean_the_first_ones(path: Path, tmp_path: Path) -> None:
    metadata, tensors = read(path)
    network, normalization = json.loads(metadata["network"]), json.loads(metadata["normalization"])
    assert (network.pop("cell"), network.pop("reset_after"), normalization.pop("divide_s1")) == ("GRU", True, False)
    older = {"network": json.dumps(network), "normalization": json.dumps(normalization)}
    save_file(tensors, tmp_path / "old.safetensors", metadata={**metadata, **older})
    old, new = load_tagger(tmp_path / "old.safetensors"), load_tagger(path)
    assert old.recurrent.spec == new.recurrent.spec
    assert isinstance(old.normalization, Normalization)
    assert old.normalization.spec == NormalizationSpec()


def test_what_the_paper_prints_is_restored(scattering: Scattering, tmp_path: Path, music: Tensor) -> None:
    """The reset gate inside the product, and S1 divided by S0."""
    tagger = make_tagger(scattering, stack("GRU", reset_after=False), NormalizationSpec("none", divide_s1=True))
    path = tmp_path / "x.safetensors"
    save_tagger(tagger, path)
    audio = music[None, :50000]
    expected = tagger(audio)
    assert float((load_tagger(path)(audio) - expected).abs().max()) < 2e-3
    metadata, tensors = read(path)
    for part, changes in (("network", {"reset_after": True}), ("normalization", {"divide_s1": False})):
        text = json.dumps({**json.loads(metadata[part]), **changes})
        save_file(tensors, tmp_path / "y.safetensors", metadata={**metadata, part: text})
        other = load_tagger(tmp_path / "y.safetensors")
        assert float((other(audio) - expected).abs().max()) > 1e-2, f"without {part} it is another function"


def test_weights_are_saved_in_half_precision(path: Path) -> None:
    _, tensors = read(path)
    assert all(t.dtype == torch.float16 for name, t in tensors.items() if not name.startswith("normalization."))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for missing in (tmp_path / "no.safetensors", tmp_path):
        with pytest.raises(ModelFileError, match="no such model file"):
            load_tagger(missing)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file", b"\xff" * 4096, b"PK\x03\x04" + b"\0" * 100])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"x\.safetensors: not a model file"):
        load_tagger(tmp_path / "x.safetensors")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match="damaged"):
        load_tagger(path)


def test_another_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="not a streamtag model"):
        load_tagger(tmp_path / "other.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(path: Path, value: float) -> None:
    metadata, tensors = read(path)
    tensors["head.weight"][1, 2] = value
    save_file(tensors, path, metadata)
    with pytest.raises(ModelFileError, match=r"head\.weight holds values that are not finite"):
        load_tagger(path)


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
    "concepts null": (_text("concepts", "null"), "damaged model description: concepts must be a list"),
    "a concept no object": (_text("concepts", "[7]"), "damaged model description: ConceptSpec"),
    "no concepts": (_concepts(), "do not fit: concepts: there must be at least one"),
    "a concept twice": (_concepts({}, {}), "do not fit: concepts: .* no name twice"),
    "an unknown tag": (_concepts({"tags": ["tag 9"]}), "many: 'tag 9' is not a tag of the model"),
    "a concept's scale": (_concepts({"scale": float("nan")}), "many: scale must be a finite number"),
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
    metadata, tensors = read(path)
    change(metadata, tensors)
    save_file(tensors, path, metadata)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_tagger(path)
    assert "\n" not in str(caught.value)


def test_concepts_are_stored_and_a_file_without_them_has_one_per_tag(path: Path) -> None:
    metadata, tensors = read(path)
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


def test_an_untouched_copy_loads(path: Path) -> None:
    """The negative control of the damages above."""
    metadata, tensors = read(path)
    save_file(tensors, path, metadata)
    load_tagger(path)


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
