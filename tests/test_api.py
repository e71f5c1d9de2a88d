"""The public API: its names, what importing it loads, and its results."""

from __future__ import annotations

import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import streamtag
from streamtag.errors import DeviceError, ModelFileError
from streamtag.inference.events import EventDetector
from streamtag.model import ConceptMap
from tests.conftest import CONCEPTS
from tests.sounds import Encode

EXAMPLES = Path(__file__).parents[1] / "examples"
SECONDS = 24.0


def noise(seconds: float) -> NDArray[np.float32]:
    samples = np.random.default_rng(0).standard_normal(round(seconds * 16000))
    return (0.2 * samples * np.sin(np.arange(len(samples)) * np.pi / 16000)).astype(np.float32)


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory, encode: Encode) -> Path:
    """Lossless audio that is longer than several of the largest chunks."""
    return encode(tmp_path_factory.mktemp("song") / "song.wav", noise(SECONDS), 16000, "pcm_f32le")


@pytest.mark.parametrize("name", streamtag.__all__)
def test_every_name_exists(name: str) -> None:
    assert getattr(streamtag, name) is not None
    assert name in dir(streamtag)


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = streamtag.lode


class TestLoad:
    def test_concepts(self, tagger: streamtag.Tagger, concept_model: Path) -> None:
        """A model file without them has one per tag."""
        assert streamtag.load(concept_model, "cpu").concepts == CONCEPTS
        assert [concept.name for concept in tagger.concepts] == list(tagger.tags)

    def test_a_missing_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelFileError, match=r"none\.safetensors"):
            streamtag.load(tmp_path / "none.safetensors")

    def test_the_small_model(self, tmp_path: Path) -> None:
        """It has an eighth of the weights, the same tags and concepts, and hears much the same in the example song."""
        large, small = streamtag.load(None, "cpu"), streamtag.load("small", "cpu")
        assert small.path.stat().st_size < 3_000_000 < large.path.stat().st_size
        assert streamtag.load("shipped", "cpu").path == large.path
        assert small.tags == large.tags
        assert [concept.name for concept in small.concepts] == [concept.name for concept in large.concepts]
        means = [tagger.tag(EXAMPLES / "evening_ride.mp3").probs.mean(axis=0) for tagger in (large, small)]
        assert np.corrcoef(*means)[0, 1] > 0.9
        with pytest.raises(ModelFileError, match="small"):
            streamtag.load(tmp_path / "small")  # another file of that name

    def test_auto_chooses_the_best_device(self, model: Path) -> None:
        expected = "cuda" if torch.cuda.is_available() else "cpu"
        assert streamtag.load(str(model)).device == expected

    def test_a_missing_device(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(DeviceError, match=r"^device cuda: "):
            streamtag.load(model, device="cuda")
        assert streamtag.load(model).device == "cpu"

    def test_an_unknown_device(self, model: Path) -> None:
        with pytest.raises(DeviceError, match="auto, cpu or cuda"):
            streamtag.load(model, device="tpu")


class TestTag:
    def test_the_result(self, tagger: streamtag.Tagger, song: Path) -> None:
        result = tagger.tag(song)
        assert result.tags == list(tagger.tags)
        assert result.seconds == SECONDS
        assert result.probs.shape == (len(result.times), 50) == (94, 50)
        assert result.probs.dtype == np.float32
        assert result.times == pytest.approx(np.arange(94) * 0.256)
        assert list(result.summary) == list(tagger.tags)
        assert list(result.summary.values()) == pytest.approx(result.probs.mean(axis=0))
        assert result.warnings == ()
        assert result.probs.std(axis=0).max() > 0.01  # it depends on the audio

    def test_concepts_stand_beside_the_tags(self, concept_model: Path, song: Path) -> None:
        result = streamtag.load(concept_model, "cpu").tag(song)
        assert result.concepts == [concept.name for concept in CONCEPTS]
        assert result.concept_probs.shape == (94, 3)
        assert result.concept_probs == pytest.approx(ConceptMap(result.tags, CONCEPTS)(result.probs))
        assert result.concept_summary == pytest.approx(
            dict(zip(result.concepts, result.concept_probs.mean(axis=0).tolist(), strict=True))
        )

    def test_what_is_present_follows_from_the_events(self, concept_model: Path, song: Path) -> None:
        result = streamtag.load(concept_model, "cpu").tag(song)
        detector = EventDetector(result.concepts, [concept.threshold for concept in CONCEPTS])
        for probs, time in zip(result.concept_probs, result.times.tolist(), strict=True):
            detector.update(probs, time)
        seconds = dict(zip(result.concepts, detector.present_s(SECONDS).tolist(), strict=True))
        assert any(seconds.values())
        assert result.present_s == {name: length for name, length in seconds.items() if length > 0}
        found = {concept.category: set[str]() for concept in CONCEPTS if seconds[concept.name] >= SECONDS / 4}
        for concept in CONCEPTS:
            if seconds[concept.name] >= SECONDS / 4:
                found[concept.category].add(concept.name)
        assert {category: set(names) for category, names in result.present.items()} == found

    def test_a_file_gives_the_frames_of_a_session(self, tagger: streamtag.Tagger, song: Path) -> None:
        session = streamtag.Session(tagger)
        samples = noise(SECONDS)
        frames = [f for start in range(0, len(samples), 5000) for f in session.feed(samples[start : start + 5000])]
        frames += session.flush()
        np.testing.assert_allclose(tagger.tag(song).probs, np.array([f.probs for f in frames]), atol=1e-5)

    def test_a_file_gives_the_frames_of_the_offline_network(self, tagger: streamtag.Tagger, song: Path) -> None:
        offline = tagger.network(torch.from_numpy(noise(SECONDS))[None])[0].numpy()
        np.testing.assert_allclose(tagger.tag(song).probs, offline, atol=0.02)

    def test_a_missing_file(self, tagger: streamtag.Tagger) -> None:
        with pytest.raises(streamtag.StreamtagError, match=r"^no\.mp3: no such file$"):
            tagger.tag("no.mp3")


class TestExamples:
    def test_a_file(
        self,
        model: Path,
        song: Path,
        tagger: streamtag.Tagger,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["tag_a_file.py", str(song), str(model)])
        runpy.run_path(str(EXAMPLES / "tag_a_file.py"))
        out, err = capsys.readouterr()
        assert err == ""
        lines = out.splitlines()
        summary = tagger.tag(song).summary
        strongest = sorted(summary, key=summary.__getitem__, reverse=True)[:10]
        assert [line[:15].strip() for line in lines[1:]] == strongest

    def test_a_missing_file(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["tag_a_file.py", "none.mp3", str(model)])
        with pytest.raises(SystemExit, match=r"^none\.mp3: no such file$"):
            runpy.run_path(str(EXAMPLES / "tag_a_file.py"))

    def test_a_stream(self, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["tag_a_stream.py", str(model)])
        monkeypatch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BytesIO(noise(3).tobytes() + b"\0"))
        )  # a torn last sample
        runpy.run_path(str(EXAMPLES / "tag_a_stream.py"))
        out, err = capsys.readouterr()
        assert err == ""
        lines = out.splitlines()
        assert len(lines) == 12
        assert lines[4].split()[0] == "1.02"
