"""What a step contains: when states carry on, when songs change, how much frames count."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.train.config import TrainConfig
from trainer.train.dataset import FeatureDataset, Row, Segment
from trainer.train.sampler import SequenceSampler, StepPlan

PLAIN = TrainConfig(batch=4, frames=10, carry=0.0, cut=0.0, ramp_s=0.0)


def library(lengths: list[int], passes: int = 1) -> FeatureDataset:
    rows = tuple(
        tuple(Row(p, 100 * clip, frames, np.zeros((1, 2), dtype=np.float16)) for p in range(passes))
        for clip, frames in enumerate(lengths)
    )
    return FeatureDataset((), 1.0, rows)


def plans(config: TrainConfig, source: FeatureDataset, seed: int = 1) -> list[StepPlan]:
    return list(SequenceSampler(source, config, 0.256).epoch(seed))


def clip(segment: Segment) -> int:
    return segment.row.first // 100


def test_an_epoch_holds_every_clip_once() -> None:
    steps = plans(PLAIN, library([10] * 8, passes=2))
    assert len(steps) == 2
    assert sorted(clip(segment) for step in steps for segment in step.segments) == list(range(8))
    assert all(
        (segment.start, segment.position, segment.count) == (0, 0, 10) for step in steps for segment in step.segments
    )
    assert all(step.fresh.all() and (step.weight == 1).all() for step in steps)
    assert {segment.row.source for step in steps for segment in step.segments} == {0, 1}, "both passes are used"


def test_long_clips_are_input_stretch_by_stretch_with_the_state_kept() -> None:
    steps = plans(replace(PLAIN, batch=2), library([34, 34]))
    assert len(steps) == 3
    assert [step.fresh.tolist() for step in steps] == [[True, True], [False, False], [False, False]]
    for slot in (0, 1):
        segments = [segment for step in steps for segment in step.segments if segment.slot == slot]
        assert len({clip(segment) for segment in segments}) == 1
        assert [segment.start - segments[0].start for segment in segments] == [0, 10, 20]
    starts = {plans(PLAIN, library([34]), seed)[0].segments[0].start for seed in range(50)}
    assert starts == {0, 1, 2, 3, 4}, "from any frame from which three stretches are left"


def test_short_clips_are_followed_by_zero_weight_or_the_next_clip() -> None:
    for step in plans(PLAIN, library([6] * 8)):
        assert (step.weight[:, :6] == 1).all()
        assert (step.weight[:, 6:] == 0).all()
        assert step.fresh.all()
    for number, step in enumerate(plans(replace(PLAIN, carry=1.0), library([6] * 8))):
        assert (step.weight == 1).all()
        assert step.fresh.all() == (number == 0)


def test_carried_slots_continue_from_clip_to_clip() -> None:
    for carry, expected in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0)):
        steps = plans(replace(PLAIN, carry=carry), library([10] * 400))[1:]
        assert np.mean([step.fresh for step in steps]) == pytest.approx(expected, abs=0.08)


def test_cut_clips_are_followed_by_another_in_their_state() -> None:
    config = replace(PLAIN, cut=1.0, ramp_s=1.0, ramp_from=0.25)
    steps = plans(config, library([10] * 200))
    assert not any(step.fresh.any() for step in steps[1:])
    places = Counter(segment.position for step in steps for segment in step.segments)
    assert sum(count for place, count in places.items() if place) > 100
    for step in steps:
        for segment in step.segments:
            if segment.position and segment.start == 0:
                assert step.weight[segment.slot, segment.position] == 0.25  # the ramp starts again
    (weights,) = {tuple(step.weight[0, :5]) for step in plans(replace(config, cut=0.0), library([10] * 4))}
    np.testing.assert_allclose(weights, [0.25, 0.442, 0.634, 0.826, 1.0], atol=1e-6)


@settings(max_examples=150)
@given(
    st.lists(st.integers(1, 47), min_size=1, max_size=9),
    st.integers(1, 5),
    st.integers(1, 20),
    st.floats(0, 1),
    st.one_of(st.just(0.0), st.floats(0, 1)),
    st.integers(0, 1000),
)
@example([4, 17, 28], 3, 3, 0.0, 1.0, 1)  # a clip that was cut is drawn again, and begins just there
def test_every_sampled_frame_exists(
    lengths: list[int], batch: int, frames: int, carry: float, cut: float, seed: int
) -> None:
    config = replace(PLAIN, batch=batch, frames=frames, carry=carry, cut=cut, ramp_s=0.0)
    before: dict[int, Segment] = {}
    for step in plans(config, library(lengths), seed):
        mask = np.zeros(step.weight.shape)
        for segment in step.segments:
            assert segment.count > 0
            assert 0 <= segment.start <= segment.start + segment.count <= segment.row.frames
            mask[segment.slot, segment.position : segment.position + segment.count] += 1
            last = before.get(segment.slot)
            goes_on = last is not None and last.row is segment.row and segment.start == last.start + last.count
            if goes_on and not cut and not step.fresh[segment.slot]:
                assert segment.position == 0, "a clip goes on at the beginning of a stretch"
            before[segment.slot] = segment
        assert (mask == (step.weight > 0)).all(), "each frame once; frames that no segment fills have no weight"
        assert (mask[:, 0] == 1).all()
