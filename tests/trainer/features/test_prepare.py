"""`prepare` as it is called: what it says, where it puts it, and how it fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.trainer.synthetic_magnatagatune import SyntheticSet, write_set
from trainer.cli import app
from trainer.data.dataset import read_dataset
from trainer.features.cache import Cache


@pytest.fixture
def dataset(tmp_path: Path) -> SyntheticSet:
    """Its clips are long enough to be cut short."""
    return write_set(tmp_path / "magnatagatune", seconds=1.0)


@pytest.fixture
def few(dataset: SyntheticSet, tmp_path: Path) -> Path:
    """Every sixth clip of the miniature, as a set of its own; one of them is not a sound, one is cut short."""
    root = tmp_path / "few"
    kept = [*dataset.clips[::6], *dataset.broken]
    lines = (dataset.root / "annotations_final.csv").read_text().splitlines()
    root.mkdir()
    ids = {f'"{clip.clip_id}"' for clip in kept}
    table = [lines[0], *(line for line in lines[1:] if line.split("\t")[0] in ids)]
    (root / "annotations_final.csv").write_text("\n".join(table) + "\n")
    shutil.copy(dataset.root / "clip_info_final.csv", root)
    for clip in kept:
        (root / clip.path).parent.mkdir(exist_ok=True)
        shutil.copy(dataset.root / clip.path, root / clip.path)
    (root / kept[1].path).write_text("not a sound")
    whole = (root / kept[2].path).read_bytes()
    (root / kept[2].path).write_bytes(whole[: len(whole) // 3])
    return root


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["prepare", *words])


@pytest.mark.slow
def test_it_lists_what_is_left_out_and_what_is_short(dataset: SyntheticSet, few: Path) -> None:
    done = call(str(few), "--workers", "0", "--front", "mel", "--front", "scattering", "--passes", "1")
    assert done.exit_code == 0, done.output
    bad, short = dataset.clips[6].clip_id, dataset.clips[12].clip_id
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("MagnaTagATune, 50 most frequent tags")
    assert "left out: 35644, 55753, 57881: known to be broken in the archive" in lines
    assert sum(line.startswith(f"left out: {bad}: ") and "not an audio file" in line for line in lines) == 2
    assert sum(line.startswith(f"warning: {short} is short: ") for line in lines) == 2
    assert not any(f" {dataset.clips[0].clip_id} " in line for line in lines)
    for front, size in (("mel", 96), ("scattering", 374)):
        cache = Cache(few / "features", read_dataset(few), front, 1)
        assert cache.complete_passes() == 1
        assert list(cache.dropped) == [bad]
        assert any(f"{len(cache.manifest.clips)} clips" in line and f"frames of {size}, 1 " in line for line in lines)
