"""Model files of every kind of network and front end: what is restored, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from streamtag.errors import SpecError
from streamtag.model import Normalization, NormalizationSpec, Scattering, TaggerNetwork, load_tagger, save_tagger
from streamtag.model.model_file import deserialize, serialize
from streamtag.spec import Cell, CqtSpec, MelSpec
from tests.model.conftest import by_time, check_refused, make_tagger, read_model, stack


def restored(tagger: TaggerNetwork, folder: Path, audio: Tensor) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Save and load a model, check that it is the same, and return the metadata and tensors of its file."""
    save_tagger(tagger, folder / "x.safetensors")
    loaded = load_tagger(folder / "x.safetensors")
    assert (loaded.spec, loaded.recurrent.spec) == (tagger.spec, tagger.recurrent.spec)
    expected = tagger(audio)
    assert float((loaded(audio) - expected).abs().max()) < 2e-3, "half precision costs little"
    assert torch.equal(deserialize(*serialize(tagger))(audio), expected)
    return read_model(folder / "x.safetensors")


@pytest.fixture
def audio(music: Tensor) -> Tensor:
    return music[None, :50000]


@pytest.mark.parametrize("cell", ["LSTM", "BN-LSTM"])
def test_other_cells_are_restored(scattering: Scattering, cell: Cell, tmp_path: Path, audio: Tensor) -> None:
    metadata, tensors = restored(make_tagger(scattering, stack(cell)), tmp_path, audio)
    assert all((t.dtype == torch.float32) == ("gain" in n or "offset" in n or "norm" in n) for n, t in tensors.items())
    for other in ("GRU", "CNN 2"):  # the weights are those of another network, or no network has this name
        network = json.dumps({**json.loads(metadata["network"]), "cell": other})
        message = r"missing or unknown tensors|unknown cell 'CNN 2'"
        check_refused(tmp_path / "y.safetensors", {**metadata, "network": network}, tensors, message)


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
def test_networks_of_a_window_are_restored(scattering: Scattering, kind: str, tmp_path: Path, audio: Tensor) -> None:
    metadata, tensors = restored(make_tagger(scattering, stack(kind)), tmp_path, audio)
    network = json.loads(metadata["network"])
    damages = [(json.dumps({**network, **changed}), message) for changed, message in WINDOW_DAMAGES[kind]]
    for text, message in [*damages, ("7", "the network must be an object")]:
        check_refused(tmp_path / "y.safetensors", {**metadata, "network": text}, tensors, message)
    if kind == "CNN 2":
        tensors["stages.0.variance"][1] = -1.0
        check_refused(tmp_path / "y.safetensors", metadata, tensors, r"stages\.0\.variance must not be below zero")


@pytest.mark.parametrize("kind", ["mel", "cqt"])
def test_other_front_ends_are_restored(kind: str, tagger: TaggerNetwork, tmp_path: Path, audio: Tensor) -> None:
    metadata, tensors = restored(by_time(kind), tmp_path, audio)
    save_tagger(tagger, tmp_path / "toy.safetensors")
    scattering, spec = read_model(tmp_path / "toy.safetensors")[0], json.loads(metadata[kind])
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
        check_refused(tmp_path / "y.safetensors", changed, tensors, message)


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


def test_files_from_before_there_were_choices_mean_the_first_ones(tagger: TaggerNetwork, tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    save_tagger(tagger, path)
    metadata, tensors = read_model(path)
    network, normalization = json.loads(metadata["network"]), json.loads(metadata["normalization"])
    assert (network.pop("cell"), network.pop("reset_after"), normalization.pop("divide_s1")) == ("GRU", True, False)
    older = {"network": json.dumps(network), "normalization": json.dumps(normalization)}
    save_file(tensors, tmp_path / "old.safetensors", metadata={**metadata, **older})
    old, new = load_tagger(tmp_path / "old.safetensors"), load_tagger(path)
    assert old.recurrent.spec == new.recurrent.spec
    assert isinstance(old.normalization, Normalization)
    assert old.normalization.spec == NormalizationSpec()


def test_what_the_paper_prints_is_restored(scattering: Scattering, tmp_path: Path, audio: Tensor) -> None:
    """The reset gate inside the product, and S1 divided by S0."""
    tagger = make_tagger(scattering, stack("GRU", reset_after=False), NormalizationSpec("none", divide_s1=True))
    metadata, tensors = restored(tagger, tmp_path, audio)
    expected = tagger(audio)
    for part, changes in (("network", {"reset_after": True}), ("normalization", {"divide_s1": False})):
        text = json.dumps({**json.loads(metadata[part]), **changes})
        save_file(tensors, tmp_path / "y.safetensors", metadata={**metadata, part: text})
        other = load_tagger(tmp_path / "y.safetensors")
        assert float((other(audio) - expected).abs().max()) > 1e-2, f"without {part} it is another function"
