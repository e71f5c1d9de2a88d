"""The recipe: one command from recordings to a model file with its card, which goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from streamtag.errors import ManifestError
from streamtag.model.model_file import load_tagger
from tests.trainer.conftest import RATE, sound, write_rows
from tests.trainer.label.synthetic_teachers import TAGS, write_teachers
from trainer.cli import app
from trainer.features.audio import encode
from trainer.files import read_json

SETTINGS = ("epochs=1", "batch=4", "frames=57")
TRACKS = 12


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tracks by six artists, half of them with a human tag."""
    folder = tmp_path_factory.mktemp("data") / "tracks"
    (folder / "audio").mkdir(parents=True)
    rng = np.random.default_rng(5)
    names = [f"track-{n}" for n in range(TRACKS)]
    for n, name in enumerate(names):
        encode(sound(rng, bool(n % 2), False, 6.0), RATE, "flac", 0, folder / "audio" / f"{name}.flac")
    write_rows(
        folder / "tracks.csv", [("track_id", "artist"), *((name, f"artist {n % 6}") for n, name in enumerate(names))]
    )
    rows = [(name, 3, n % 2, (n + 1) % 2) for n, name in enumerate(names)]
    write_rows(folder / "human_tags.csv", [("track_id", "clips", "guitar", "piano"), *rows])
    return folder


@pytest.mark.slow
def test_one_command_makes_a_model_and_a_second_run_repeats_nothing(
    tracks: Path, write_tree: Callable[[Path, int, int], Path], tmp_path: Path
) -> None:
    data = write_tree(tmp_path / "data", 4, 21)
    teachers = write_teachers(tmp_path / "teachers.safetensors")
    words = ["recipe", "shipped", data, tracks, "--teachers", teachers, "--tracks", tracks, "--out", tmp_path / "out"]
    words += ["--folds", 2, "--kind", "odd", "--system", "Scat-1L-64H-GRU", "--threads", 1, "--draws", 20]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    tagger = load_tagger(out / "model.safetensors")
    assert tuple(tagger.tags) == TAGS
    figures = tagger.card["human_tags_out_of_fold"]
    assert figures["tracks"] == TRACKS
    assert figures["left_out_checked"]
    left_out = [
        set(read_json(out / "runs" / name / "data.json", ManifestError)["left_out"])
        for name in ("base", "fold-1", "fold-2", "final")
    ]
    base, first, second, final = left_out
    assert base == first | second == {f"artist {n}" for n in range(6)}
    assert not first & second
    assert not final
    files = [out / "human.json", *out.glob("runs/*/best.safetensors"), out / "labelled" / "labels.half"]
    before = [file.stat().st_mtime_ns for file in files]
    assert CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).exit_code == 0
    assert [file.stat().st_mtime_ns for file in files] == before
