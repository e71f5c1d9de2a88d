"""A session numbers and times the frames of one stream, however its samples are cut; with a toy network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.inference.frame import TagFrame
from streamtag.inference.session import MAX_STEP_S, HasNetwork, Session
from streamtag.spec import ScatteringSpec

SPEC = ScatteringSpec()
RATE = SPEC.sample_rate


class ToyNetwork(torch.nn.Module):
    """Two "tags": loudness of a frame's window, and of all frames so far. The state is the audio itself."""

    spec = SPEC

    def __init__(self) -> None:
        super().__init__()
        self.largest_step = self.samples = 0

    def initial_state(self, streams: int) -> torch.Tensor:
        return torch.zeros(streams, 0)

    def step(self, audio: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert audio.dtype == torch.float32
        assert torch.is_inference_mode_enabled()
        self.samples += audio.shape[1]
        self.largest_step = max(self.largest_step, audio.shape[1])
        after = torch.cat([state, audio], dim=1)
        return self._frames(after, self._count(state.shape[1]), self._count(after.shape[1])), after

    def concept_map(self, probs: NDArray[np.float32]) -> NDArray[np.float32]:
        return probs

    def reset_context(self, state: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(state)

    def flush(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        length = state.shape[1]
        return self._frames(state, self._count(length), SPEC.frame_count(length)), state

    def _count(self, samples: int) -> int:
        """Return the number of frames whose look-ahead is complete."""
        return max(0, (samples - SPEC.lookahead) // SPEC.hop + 1)

    def _frames(self, audio: torch.Tensor, first: int, end: int) -> torch.Tensor:
        padded = torch.nn.functional.pad(audio, (SPEC.hop, 2 * SPEC.hop)).abs()
        rows = [
            torch.stack(
                [
                    padded[:, k * SPEC.hop :][:, : SPEC.window].mean(1),
                    padded[:, : k * SPEC.hop + SPEC.window].sum(1),
                ],
                1,
            )
            for k in range(first, end)
        ]
        return torch.stack(rows, 1) if rows else torch.zeros(len(audio), 0, 2)


@dataclass
class Toy:
    network: ToyNetwork = field(default_factory=ToyNetwork)


def session_of(toy: Toy | None = None) -> Session:
    return Session(cast(HasNetwork, toy or Toy()))


def noise(length: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.2 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def probs_of(frames: Iterable[TagFrame]) -> NDArray[np.float32]:
    return np.array([frame.probs for frame in frames])


def tag_whole(samples: Any) -> list[TagFrame]:
    session = session_of()
    return session.feed(samples) + session.flush()


def test_frames_are_numbered_and_timed_by_their_windows() -> None:
    frames = tag_whole(noise(5 * RATE))
    assert [frame.index for frame in frames] == list(range(SPEC.frame_count(5 * RATE)))
    assert (frames[0].start, frames[0].end, frames[0].time) == (-0.256, 0.256, 0.0)
    assert [frame.time for frame in frames] == pytest.approx([0.256 * k for k in range(len(frames))])
    assert all(frame.end - frame.start == pytest.approx(0.512) for frame in frames)
    assert frames[0].probs.dtype == np.float32


def test_a_frame_is_returned_as_soon_as_its_look_ahead_is_complete() -> None:
    session = session_of()
    assert session.feed(noise(SPEC.lookahead - 1)) == []
    assert [frame.index for frame in session.feed(noise(1))] == [0]
    assert session.seconds == SPEC.lookahead / RATE


@settings(max_examples=25)
@given(st.lists(st.sampled_from([0, 1, 17, 160, 4095, 4096, 4097, 6144, 44100]), max_size=12))
def test_every_cut_gives_the_same_frames(sizes: list[int]) -> None:
    samples = noise(sum(sizes))
    session, frames, start = session_of(), [], 0
    for size in sizes:
        frames += session.feed(samples[start : start + size])
        start += size
    frames += session.flush()
    expected = tag_whole(samples)
    assert [f.index for f in frames] == [f.index for f in expected]
    np.testing.assert_allclose(probs_of(frames), probs_of(expected), rtol=1e-5)
    assert session.seconds == sum(sizes) / RATE


def test_a_huge_chunk_is_computed_in_parts() -> None:
    toy = Toy()
    samples = noise(int(2.5 * MAX_STEP_S * RATE))
    session = session_of(toy)
    frames = session.feed(samples) + session.flush()
    assert toy.network.largest_step == MAX_STEP_S * RATE
    assert len(frames) == SPEC.frame_count(len(samples))


def test_an_empty_stream_has_no_frames() -> None:
    assert tag_whole(noise(0)) == []
    assert session_of().flush() == []


def test_samples_that_are_not_finite_count_as_silence() -> None:
    samples = noise(RATE)
    samples[[5, 600, 7000]] = [np.nan, np.inf, -np.inf]
    clean = np.where(np.isfinite(samples), samples, 0)
    np.testing.assert_array_equal(probs_of(tag_whole(samples)), probs_of(tag_whole(clean)))
    assert np.isfinite(probs_of(tag_whole(samples))).all()
    assert np.isnan(samples[5])  # the caller's array stays as it was


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype(np.float64),
        lambda x: np.repeat(x, 2)[::2],
        lambda x: x.tolist(),
        torch.from_numpy,
    ],
    ids=["float64", "strided", "list", "tensor"],
)
def test_layout_and_float_type_of_the_samples_do_not_matter(change: Any) -> None:
    samples = noise(RATE)
    np.testing.assert_array_equal(probs_of(tag_whole(change(samples))), probs_of(tag_whole(samples)))


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        ((100, 2), np.float32, "one-dim"),
        ((), np.float32, "one-dim"),
        (100, np.int16, "floating"),
        (9, bool, "floating"),
    ],
)
def test_only_mono_in_floating_point_is_accepted(shape: int | tuple[int, ...], dtype: type, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        session_of().feed(np.zeros(shape, dtype))


def test_the_caller_may_reuse_its_buffer() -> None:
    session, buffer = session_of(), noise(RATE)
    frames = session.feed(buffer)
    buffer[:] = 0
    frames += session.flush()
    np.testing.assert_array_equal(probs_of(frames), probs_of(tag_whole(noise(RATE))))


def test_a_reset_session_equals_a_fresh_one() -> None:
    session = session_of()
    session.feed(noise(2 * RATE, seed=1))
    assert session.flush()
    assert session.flush() == []
    with pytest.raises(ValueError, match="reset"):
        session.feed(noise(1))
    session.reset()
    assert session.seconds == 0
    frames = session.feed(noise(RATE)) + session.flush()
    assert frames[0].index == 0
    np.testing.assert_array_equal(probs_of(frames), probs_of(tag_whole(noise(RATE))))


def test_a_gap_counts_as_silence_and_has_no_frames_of_its_own() -> None:
    before, after = noise(2 * RATE, 1), noise(3 * RATE, 2)
    gap = int(1.3 * RATE)
    session = session_of()
    frames = [*session.feed(before), *session.insert_gap(gap), *session.feed(after), *session.flush()]
    filled = tag_whole(np.concatenate([before, np.zeros(gap, np.float32), after]))
    kept = [frame for frame in filled if not 2.0 <= frame.time < 3.3]
    assert len(kept) == len(filled) - 5  # hops of 0.256 s whose centres lie in 1.3 s
    assert [(f.index, f.start, f.end) for f in frames] == [(f.index, f.start, f.end) for f in kept]
    np.testing.assert_allclose(probs_of(frames), probs_of(kept), rtol=1e-5)
    assert session.seconds == pytest.approx(6.3)


def test_a_short_gap_between_two_centres_costs_no_frame() -> None:
    session = session_of()
    frames = [*session.feed(noise(4200)), *session.insert_gap(800), *session.feed(noise(20000)), *session.flush()]
    assert [frame.index for frame in frames] == list(range(SPEC.frame_count(25000)))


def test_a_long_gap_is_as_cheap_as_a_short_one_and_keeps_the_time() -> None:
    toy = Toy()
    session = session_of(toy)
    frames = session.feed(noise(RATE))
    hours = 5 * 3600 * RATE + 1234
    frames += session.insert_gap(hours)
    assert toy.network.samples < 5 * RATE
    frames += session.feed(noise(RATE, 3)) + session.flush()
    assert session.seconds == pytest.approx(2 + hours / RATE)
    assert [frame.index * SPEC.hop / RATE == pytest.approx(frame.time) for frame in frames] == [True] * len(frames)
    centres = np.array([frame.time for frame in frames])
    assert ((centres < 1.0) | (centres >= 1 + hours / RATE)).all()
    assert len(frames) == pytest.approx(2 * RATE / SPEC.hop, abs=1.5)


@pytest.mark.parametrize("samples", [0, -1])
def test_an_empty_gap_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match="gap"):
        session_of().insert_gap(samples)


def test_resetting_the_context_keeps_time_and_frame_numbers() -> None:
    session, same = session_of(), session_of()
    audio = noise(4 * RATE)
    assert len(session.feed(audio)) == len(same.feed(audio))
    session.reset_context()
    later, kept = session.feed(audio), same.feed(audio)
    assert [frame.index for frame in later] == [frame.index for frame in kept]
    assert later[0].probs[1] < kept[0].probs[1]  # the sum of all frames since the reset
    fresh = session_of()
    fresh.reset_context()  # without effect before the first sample
    assert len(fresh.feed(audio)) == len(session_of().feed(audio))
