"""Human tags of tracks: they label the clips that were cut from them, and the network learns from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.errors import ManifestError, SpecError
from trainer.concepts.evidence import RECALL
from trainer.data.manifest import Clip
from trainer.evaluate import metrics
from trainer.features.cache import Cache
from trainer.human.tracks import Track, TrackFolder
from trainer.train.config import TrainConfig
from trainer.train.dataset import load_data
from trainer.train.human_labels import SlotLabels, human_loss, read_labels
from trainer.train.loop import Run

TAGS = ("guitar", "female", "woman", "female vocal", "female voice", "piano")  # of three concepts
NAME = "tracks"


def folder(counts: list[list[int]], tags: tuple[str, ...], clips: int = 2) -> TrackFolder:
    """Tracks t0, t1, ... with human tags, and one without."""
    annotated = [Track(f"t{n}", f"artist {n}", Path("x"), clips) for n in range(len(counts))]
    rows = np.array([*counts, [0] * len(tags)])
    return TrackFolder(Path("somewhere") / NAME, tags, (*annotated, Track("other", "another", Path("x"))), rows)


def test_clips_have_the_labels_of_their_track() -> None:
    people = folder([[1, 0], [0, 2]], ("female", "piano"))
    clips = [
        Clip("a", "train", "real", Path("a"), recording=f"{NAME}.t0"),
        Clip("mixed", "train", "real", Path("a"), mixed_artist="someone", recording=f"{NAME}.t0"),
        Clip("b", "train", "real", Path("b"), recording=f"{NAME}.t1"),
        Clip("without tags", "train", "real", Path("c"), recording=f"{NAME}.other"),
        Clip("of another folder", "train", "real", Path("d"), recording="corpus.t0"),
    ]
    found = read_labels(people, clips, TAGS)
    assert set(found.by_clip) == {"a", "b"}
    assert found.members.tolist() == [[1, 0, 0], *[[0, 1, 0]] * 4, [0, 0, 1]]
    assert found.by_clip["a"].present.tolist() == [0, 1, 0]
    assert found.by_clip["b"].present.tolist() == [0, 0, 1]
    absent = pytest.approx(1 - (1 - RECALL) ** 2)
    assert found.by_clip["a"].weights.tolist() == [0, 1, absent], "nobody asked about guitars"


def labels(present: list[list[float]], frames: list[list[float]]) -> SlotLabels:
    here = torch.tensor(present)
    return SlotLabels(here, torch.ones_like(here), torch.tensor(frames))


def test_the_loss_is_that_of_any_tag_in_the_labelled_frames() -> None:
    members = torch.tensor([[1.0], [1.0]])
    p = torch.tensor([[[0.2, 0.5], [0.1, 0.0001], [0.9, 0.9]]])
    any_tag = torch.tensor([0.6, 1 - 0.9 * 0.9999])
    pooled = (any_tag**2).sum() / any_tag.sum()
    found = human_loss(torch.logit(p), labels([[1.0]], [[1, 1, 0]]), members)
    assert float(found) == pytest.approx(float(-pooled.log()), rel=1e-4)


def test_presence_raises_the_frames_that_are_likeliest_most() -> None:
    logits = torch.tensor([[[-3.0], [1.0], [1.0]]], requires_grad=True)
    loss = human_loss(logits, labels([[1.0]], [[1, 1, 0]]), torch.ones(1, 1))
    (gradient,) = torch.autograd.grad(loss, logits)
    unlikely, likely, unlabelled = (-gradient).flatten().tolist()
    assert likely > 5 * abs(unlikely)
    assert unlabelled == 0


def test_a_network_learns_from_people_what_its_targets_do_not_say(
    cache: Cache, small: TrainConfig, tmp_path: Path
) -> None:
    """The targets of "coin" are chance. People say it of the clips with a high tone."""
    high = cache.full_manifest.teachers[0][:, 0]
    clips = tuple(
        replace(clip, recording=f"{NAME}.t{n}") for n, clip in enumerate(cache.full_manifest.clips)
    )  # fmt: skip
    labelled = Cache(cache.root, replace(cache.full_manifest, clips=clips), "scattering", seed=1)
    people = folder([[int(value)] for value in high], ("coin",), clips=20)
    scores = {}
    for weight in (0.0, 4.0):
        config = replace(small, human_loss=weight, epochs=12)
        data = load_data(labelled, config, 0, lambda: None, tracks=people if weight else None)
        run = Run(tmp_path / str(weight), config, data)
        list(run.epochs())
        predicted = run.predictions()[0][:, 2:]
        scores[weight] = metrics.macro_roc_auc(predicted, data.targets[:, :1])
    assert scores[4.0] > 0.95
    assert scores[0.0] < 0.8


def test_labels_that_no_clip_has_and_a_loss_without_labels_are_refused(cache: Cache, small: TrainConfig) -> None:
    people = folder([[1]], ("coin",))
    with pytest.raises(ManifestError, match=r"no clip was cut from a track of .*tracks with human tags"):
        load_data(cache, replace(small, human_loss=1.0), 0, lambda: None, tracks=people)
    for config, tracks in ((small, people), (replace(small, human_loss=1.0), None)):
        with pytest.raises(SpecError, match="need both --tracks and a human_loss"):
            load_data(cache, config, 0, lambda: None, tracks=tracks)
