"""The benchmark measures what it says, on a toy model; its figures are not judged here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch
from torch import nn

from streamtag.api import Tagger, load
from streamtag.cli.bench import bench
from streamtag.cli.bench.measure import write_mp3
from streamtag.errors import ModelFileError
from streamtag.model import (
    NetworkSpec,
    Normalization,
    NormalizationSpec,
    Scattering,
    ScatteringSpec,
    StackedGRU,
    save_tagger,
)
from streamtag.model import TaggerNetwork as Network

Need = Callable[[str, bool, str], None]


@pytest.fixture(autouse=True)
def short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CLIP_S", 8.0)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Tagger:
    torch.manual_seed(0)
    spec = ScatteringSpec()
    gru = StackedGRU(NetworkSpec(hidden=8, layers=1, outputs=2))
    parts = Scattering(spec), Normalization(NormalizationSpec(), spec), gru, nn.Linear(8, 2)
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    save_tagger(Network(*parts, ["a", "b"], [0.5, 0.5], {}), path)
    return load(path, "cpu")


def test_the_front_end_is_held_against_kymatio(tagger: Tagger, need: Need) -> None:
    need("kymatio", bench._kymatio(8192) is not None, "kymatio.torch cannot be imported here")
    figures = bench.front_end(tagger.network.scattering, clips=1)
    assert figures["S1_error"] < 1e-3
    assert figures["S2_error"] < 2e-3
    assert figures["ratio"] == pytest.approx(figures["times_real_time"] / figures["kymatio_times_real_time"])
    assert figures["ratio"] > 1


def test_a_wrong_front_end_shows(need: Need) -> None:
    need("kymatio", bench._kymatio(8192) is not None, "kymatio.torch cannot be imported here")

    class Wrong(Scattering):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            return super().forward(audio).roll(1, dims=1)

    assert bench.front_end(Wrong(ScatteringSpec()), clips=1)["S1_error"] > 1e-2


def test_streams_and_hops(tagger: Tagger) -> None:
    threads = torch.get_num_threads()
    figures = bench.streaming(tagger.network.scattering)
    assert figures["ratio"] == pytest.approx(figures["ms_per_hop"] / figures["whole_clip_ms_per_hop"])
    times = bench.hops(tagger, count=20)
    assert 0 < times["p50_ms"] <= times["p95_ms"] <= times["p99_ms"]
    assert times["available_ms"] == 256.0
    assert torch.get_num_threads() == threads


def test_a_file_and_fresh_processes(tagger: Tagger) -> None:
    assert bench.whole_file(tagger, minutes=0.2)["times_real_time"] > 0
    figures = bench.memory(tagger, short=0.1, long=0.2)
    assert figures["difference_mib"] == figures["0.2_minutes_mib"] - figures["0.1_minutes_mib"]
    start = bench.start_up(tagger)
    assert start["process_s"] > start["import_torch_s"]
    assert start["help_s"] < start["process_s"]


def test_the_mp3_is_as_long_as_it_says(tmp_path: Path) -> None:
    with av.open(str(write_mp3(tmp_path / "x.mp3", 1.0))) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(60.0, abs=0.2)


def test_json_is_one_object(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("front_end", "streaming", "hops", "whole_file", "start_up", "memory"):
        monkeypatch.setattr(bench, name, lambda _, name=name: {"section": name, "figure": 1.5})
    assert bench.run(json=True, model=tagger.path, device="cpu") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["start-up"] == {"section": "start_up", "figure": 1.5}
    assert printed["machine"]["device"] == "cpu"
    assert bench.run(model=tagger.path, device="cpu") == 0
    assert "peak memory\n  section" in capsys.readouterr().out


def test_a_model_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        bench.run(model=tmp_path / "none.safetensors")
