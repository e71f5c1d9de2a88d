"""The recipe: one command from recordings to a model file with its card, which goes on where it was stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamtag.errors import ManifestError
from streamtag.model.model_file import load_tagger
from tests.trainer.label.synthetic_teachers import TAGS, write_teachers
from trainer.cli import app
from trainer.files import read_json

TRACKS = 12
SETTINGS = ("epochs=1", "batch=4", "frames=57")


@pytest.fixture
def tracks(track_folder: Path, tmp_path: Path) -> Path:
    """The first tracks, one by each artist, with human tags of the teachers' names."""
    folder = tmp_path / "tracks"
    shutil.copytree(track_folder, folder)
    for table in (folder / "tracks.csv", folder / "human_tags.csv"):
        lines = table.read_text().replace("high_tone,noisy", "guitar,piano").splitlines()
        table.write_text("\n".join(lines[: 1 + TRACKS]))
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
        for name in ("base-1", "base-2", "fold-1-2", "fold-2-2", "final-2")
    ]
    base, longer, first, second, final = left_out
    assert base == longer == first | second == {f"artist {n}" for n in range(12)}
    assert not first & second
    assert not final
    files = [out / "human.json", *out.glob("runs/*/best.safetensors"), out / "labelled" / "labels.half"]
    before = [file.stat().st_mtime_ns for file in files]
    assert CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).exit_code == 0
    assert [file.stat().st_mtime_ns for file in files] == before
