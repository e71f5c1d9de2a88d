"""The bench of the catalogue measures what it says, on a toy model; its figures are not judged here."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from streamtag.cli.bench import catalog as bench_catalog


def test_it_compares_the_two_commands_on_the_same_sound(model: Path) -> None:
    options = ["--model", str(model), "--device", "cpu"]
    figures = bench_catalog.compare(bench_catalog.write_mono, 10.0, options, files=3, repeats=1)
    assert figures["minutes_of_sound"] == pytest.approx(0.5, rel=0.02)
    for name in ("catalog", "file"):
        assert figures[f"{name}_times_real_time"] == pytest.approx(
            60 * figures["minutes_of_sound"] / figures[f"{name}_s"]
        )
    assert figures["ratio"] == pytest.approx(figures["file_s"] / figures["catalog_s"])
    assert figures["catalog_after_start_up"].endswith("times real time")


def test_a_mono_file_is_what_it_says(tmp_path: Path) -> None:
    path = bench_catalog.write_mono(tmp_path / "a.mp3", 6.0)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.layout.name) == (16000, "mono")
        assert stream.codec_context.bit_rate == 32000
    assert path.stat().st_size == pytest.approx(6 * 4000, rel=0.1)


def test_the_command_tells_both_kinds_of_files(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[float] = []

    def compare(write: object, seconds: float, options: list[str]) -> dict[str, float]:
        del write, options
        asked.append(seconds)
        return {"ratio": 2.0}

    monkeypatch.setattr(bench_catalog, "compare", compare)
    assert bench_catalog.run(as_json=True, model=model, device="cpu", seconds=20.0) == 0
    results = json.loads(capsys.readouterr().out)
    assert asked == [20.0, 20.0]
    assert [name for name in results if "MP3s" in name] == ["64 MP3s, 44.1 kHz stereo", "64 MP3s, 16 kHz mono"]
