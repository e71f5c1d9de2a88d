"""The steps of an epoch as tensors: the right frames of the right clips with their targets, standardised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.errors import SpecError
from streamtag.model import Standardization
from trainer.train.batches import Batch, Batches
from trainer.train.config import TrainConfig
from trainer.train.dataset import FeatureDataset, Row, Segment, TrainingData
from trainer.train.distributed import Group
from trainer.train.frame_loader import FrameLoader

PLAIN = TrainConfig(
    system="Mel-1L-8H-GRU-by-time", batch=4, frames=10, carry=0.0, cut=0.0, mixup=0.0, gain_db=0.0, tilt_db=0.0,
    noise=0.0, time_masks=0, path_masks=0, input_dropout=0.0, ramp_s=0.0,
)  # fmt: skip
WIDTH, SCALE = 24, 2.0
CPU = torch.device("cpu")


def library(clips: int = 8, frames: int = 12, moving: bool = False) -> FeatureDataset:
    """Return features that encode clip (x // 100) and frame (% 100), times 2 as stored, and targets that encode the
    clip (/ 10), and the frame if they move."""
    values = (100 * np.arange(clips)[:, None] + np.arange(frames)).reshape(-1, 1).repeat(WIDTH, axis=1)
    rows = []
    for clip in range(clips):
        y = np.full((frames if moving else 1, 3), clip / 10, dtype=np.float16)
        if moving:
            y[:, 0] = np.arange(frames) / 100
        rows.append((Row(0, clip * frames, frames, y),))
    return FeatureDataset(((values * SCALE).astype(np.float16),), SCALE, tuple(rows))


def data(source: FeatureDataset) -> TrainingData:
    targets = np.zeros((1, 3), dtype=np.float32)
    offsets = np.zeros((2, WIDTH), dtype=np.float32)
    return TrainingData(source, source, ("a", "b", "c"), targets, 1, 0.256, 0.384, Standardization(WIDTH), offsets)


def batches(config: TrainConfig, source: FeatureDataset | None = None, group: Group | None = None) -> list[Batch]:
    made = Batches(data(source or library()), config, Standardization(WIDTH), CPU, group or Group())
    return list(made.epoch(1))


def test_frames_come_in_their_order_with_their_targets() -> None:
    for moving in (False, True):
        steps = batches(replace(PLAIN, cut=0.5), library(moving=moving))
        x, y = torch.cat([step.x for step in steps]), torch.cat([step.y for step in steps])
        assert x.shape == (8, 10, WIDTH)
        torch.testing.assert_close(y[:, :, 1], x[:, :, 0] // 100 / 10, atol=1e-3, rtol=0)
        if moving:
            torch.testing.assert_close(y[:, :, 0], x[:, :, 0] % 100 / 100, atol=1e-3, rtol=0)
        steps_on = x[:, 1:, 0] - x[:, :-1, 0]
        assert (steps_on == 1).sum() > 60
        assert (steps_on != 1).any(), "and some change to another clip"


def test_empty_frames_are_zero_after_normalization() -> None:
    source = library(frames=6)
    normalize = Standardization(WIDTH)
    normalize.fit(torch.full((WIDTH,), -50.0), torch.ones(WIDTH))
    for step in Batches(data(source), PLAIN, normalize, CPU, Group()).epoch(1):
        assert (step.x[:, 6:] == 0).all()
        assert (step.weight[:, 6:] == 0).all()
        assert (step.x[:, :6] >= 50).all()


def test_processes_share_a_step() -> None:
    config = replace(PLAIN, mixup=0.5, noise=0.1, carry=0.5)
    whole = batches(config)
    parts = [batches(config, group=Group(rank, 2)) for rank in (0, 1)]
    for step, first, second in zip(whole, *parts, strict=True):
        for name in ("x", "y", "weight", "fresh"):
            together = torch.cat([getattr(first, name), getattr(second, name)])
            torch.testing.assert_close(together, getattr(step, name))


@pytest.mark.parametrize(("batch", "size"), [(4, 3), (6, 2), (4, 4)])
def test_a_step_that_cannot_be_shared_is_refused(batch: int, size: int) -> None:
    with pytest.raises(SpecError, match="cannot be shared"):
        batches(replace(PLAIN, batch=batch), group=Group(0, size))


def test_whole_clips_of_any_length() -> None:
    parts = [library(clips=3, frames=frames) for frames in (5, 7)]
    rows = (*parts[0].rows, *((replace(row, source=1),) for (row,) in parts[1].rows))
    mixed = FeatureDataset((parts[0].sources[0], parts[1].sources[0]), SCALE, rows)
    batches = FrameLoader(mixed, CPU).whole_clips(2)
    seen = {number: clip for numbers, x in batches for number, clip in zip(numbers, x, strict=True)}
    assert sorted(seen) == list(range(6))
    for number, clip in seen.items():
        assert clip[:, 0].tolist() == [100 * (number % 3) + frame for frame in range(5 if number < 3 else 7)]


def test_frames_kept_on_the_device_are_the_same(tmp_path: Path) -> None:
    """As on a GPU, where they are copied if they fit; here both lie in memory."""
    sources = []
    for number in range(2):
        path = tmp_path / f"{number}.frames"
        np.random.default_rng(number).standard_normal((70_000, 2)).astype(np.float16).tofile(path)
        sources.append(np.memmap(path, np.float16, "r", shape=(70_000, 2)))
    y = np.zeros((1, 3), dtype=np.float16)
    rows = [Row(number % 2, first, 30, y) for number, first in enumerate((0, 60_000, 69_970, 65_520))]
    library = FeatureDataset(tuple(sources), SCALE, tuple((row,) for row in rows))
    pieces = [Segment(0, 0, rows[0], 3, 10), Segment(1, 2, rows[1], 0, 8), Segment(2, 0, rows[2], 29, 1)]
    pieces += [Segment(2, 1, rows[3], 5, 4)]
    mapped, kept = FrameLoader(library, CPU), FrameLoader(library, CPU, keep=True)
    assert mapped.resident is None
    assert kept.resident is not None
    (x, known), (y_kept, known_kept) = (frames.load(pieces, 3, 10) for frames in (mapped, kept))
    assert torch.equal(known, known_kept)
    assert known[:, :, 0].sum(1).tolist() == [10, 8, 5]
    assert torch.equal(x * known, y_kept * known)
    assert bool((x * known).any(dim=2).sum() == 23)
