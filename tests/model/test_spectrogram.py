"""Spectrograms that stream: which frames they give when, and that they are those of nnAudio."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from streamtag.model import make_front_end
from streamtag.model.front_end import last_of_hops
from streamtag.spec import FRONT_ENDS, SpectrogramSpec
from tests.model.conftest import by_time
from trainer.features.frontends import frontend

HOP = 4096
KINDS = ("mel", "cqt")


@pytest.mark.parametrize("kind", KINDS)
def test_whole_signals_have_the_values_of_nnaudio(kind: str, song: Tensor, music: Tensor) -> None:
    front_end, reference = make_front_end(FRONT_ENDS[kind]()), frontend(kind)
    torch.manual_seed(0)
    for audio in (song[None, : 20 * 16000], music[None], 1e-3 * torch.randn(2, 50_000)):
        expected, found = reference.compute(audio), front_end(audio)
        count = min(expected.shape[1], found.shape[1])
        assert count > expected.shape[1] - 16
        expected, found = expected[:, :count], found[:, :count]
        assert float((found - expected).norm() / expected.norm()) < 1e-4
        assert float((found[:, 1:] - expected[:, :-1]).norm() / expected.norm()) > 1e-3  # control: a frame too late


@pytest.mark.parametrize(("kind", "newest"), [("mel", 23), ("cqt", 7)])
def test_an_output_reads_the_frames_that_are_complete_at_its_look_ahead(kind: str, newest: int) -> None:
    spec = FRONT_ENDS[kind]()
    assert isinstance(spec, SpectrogramSpec)
    front_end = make_front_end(spec)
    assert front_end.latency_s == 0.384
    state, seen = front_end.initial_state(1), 0
    audio = torch.randn(1, 8 * HOP, generator=torch.Generator().manual_seed(1))
    for output in range(4):
        until = output * HOP + 6144
        frames, state = front_end.step(audio[:, seen : until - 1], state)
        assert frames.shape[1] == (newest - 15 if output == 0 and kind == "mel" else 0)
        frames, state = front_end.step(audio[:, until - 1 : until], state)
        seen = until
        expected = 16 if output or kind == "mel" else newest + 1
        assert frames.shape[1] == expected
        whole = front_end(audio)[:, : 16 * output + newest + 1]
        torch.testing.assert_close(frames, whole[:, -expected:], atol=1e-4, rtol=0)
    # the next frame would have needed audio that has not arrived
    assert (newest + 1) * spec.step + spec.frames_after > spec.lookahead
    assert newest * spec.step + spec.frames_after <= spec.lookahead


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [0, 1, 2048, 2049, 4096, 4097, 30_000])
def test_a_signal_has_as_many_outputs_as_with_every_front_end(kind: str, samples: int) -> None:
    tagger = by_time(kind)
    audio = torch.randn(2, samples, generator=torch.Generator().manual_seed(2))
    assert tagger(audio).shape == (2, -(-samples // HOP), 5)
    frames = tagger.front_end(audio)
    expected = torch.sigmoid(tagger.head(tagger.recurrent(tagger.normalization(frames))))
    torch.testing.assert_close(tagger(audio), last_of_hops(expected, tagger.spec))
    assert bool(frames.isfinite().all())


def test_the_state_is_bounded() -> None:
    for kind in KINDS:
        front_end = make_front_end(FRONT_ENDS[kind]())
        state = front_end.initial_state(1)
        for _ in range(5):
            _, state = front_end.step(torch.zeros(1, 70_001), state)
            assert state.recent.numel() < 3.1 * HOP
