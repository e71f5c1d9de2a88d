"""`prepare` as it is called: what it says, where it puts it, and how it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.conftest import Command
from tests.trainer.synthetic_magnatagatune import write_set
from trainer.data.dataset import read_dataset
from trainer.features.cache import Cache


@pytest.mark.slow
def test_it_lists_what_is_left_out_and_what_is_short(tmp_path: Path, run: Command) -> None:
    root = tmp_path / "magnatagatune"
    whole, bad, short = write_set(root, clips=40, seconds=1.0).clips[:3]
    (root / bad.path).write_text("not a sound")
    content = (root / short.path).read_bytes()
    (root / short.path).write_bytes(content[: len(content) // 3])
    code, out, err = run("prepare", root, "--workers", 0, "--front", "mel", "--front", "scattering", "--passes", 1)
    assert (code, out) == (0, ""), err
    lines = err.splitlines()
    assert lines[0].startswith("MagnaTagATune, 50 most frequent tags")
    assert "left out: 35644, 55753, 57881: known to be broken in the archive" in lines
    assert sum(line.startswith(f"left out: {bad.clip_id}: ") and "not an audio file" in line for line in lines) == 2
    assert sum(line.startswith(f"warning: {short.clip_id} is short: ") for line in lines) == 2
    assert not any(f" {whole.clip_id} " in line for line in lines)
    for front, size in (("mel", 96), ("scattering", 374)):
        cache = Cache(root / "features", read_dataset(root), front, 1)
        assert cache.complete_passes() == 1
        assert list(cache.dropped) == [bad.clip_id]
        assert any(f"{len(cache.manifest.clips)} clips" in line and f"frames of {size}, 1 " in line for line in lines)
