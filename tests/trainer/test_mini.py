"""The miniature is what it says: the published format, the rule that can be heard, the parts of one zip."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from tests.trainer.mini import BROKEN, FOLDERS, RATE, TOP, Mini, publish, write_mini
from trainer.features.audio import decode


def test_the_format_is_the_published_one(mini: Mini) -> None:
    lines = (mini.root / "annotations_final.csv").read_text().splitlines()
    head = lines[0].split("\t")
    assert head[0] == '"clip_id"'
    assert head[-1] == '"mp3_path"'
    assert len(head) == 190
    assert len(lines) == 1 + len(mini.annotated)
    assert {path.parent.name for path in mini.root.glob("?/*.mp3")} == set(FOLDERS)
    assert sum(not path.stat().st_size for path in mini.root.glob("?/*.mp3")) == len(BROKEN)


def test_the_top_tags_are_in_order_of_frequency(mini: Mini) -> None:
    counts = Counter(tag for clip in mini.annotated for tag in clip.tags)
    assert [tag for tag, _ in counts.most_common(len(TOP))] == list(TOP)
    assert len({counts[tag] for tag in TOP}) == len(TOP)


def test_the_rule_can_be_heard_and_shuffling_ends_it(mini: Mini, tmp_path: Path) -> None:
    def score(of: Mini) -> float:
        """ROC-AUC of the strongest frequency for the first tag, which is about high tones."""
        power = [np.abs(np.fft.rfft(decode(of.root / clip.path, RATE))) for clip in of.clips]
        strongest = [np.argmax(of_clip) / len(of_clip) for of_clip in power]
        return float(roc_auc_score([TOP[0] in clip.tags for clip in of.clips], strongest))

    assert score(mini) > 0.95
    assert 0.35 < score(write_mini(tmp_path / "m", 160, 1.0, shuffled=True)) < 0.65


def test_the_parts_are_one_zip(mini: Mini, tmp_path: Path) -> None:
    site = publish(mini, tmp_path / "site")
    joined = b"".join((site / f"mp3.zip.{part:03d}").read_bytes() for part in (1, 2, 3))
    with zipfile.ZipFile(io.BytesIO(joined)) as archive:
        assert archive.testzip() is None
        clip = mini.clips[0].path
        assert archive.read(clip) == (mini.root / clip).read_bytes()
