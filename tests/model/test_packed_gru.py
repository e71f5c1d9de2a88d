"""The GRU with packed weights: in float32 the same, in bfloat16 close to it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import streamtag
from streamtag.errors import SpecError
from streamtag.model import BatchedTagger, StackedGRU, TaggerNetwork, packed_gru
from streamtag.model.packed_gru import packed

HOP = 4096


@pytest.fixture(scope="module")
def shipped() -> TaggerNetwork:
    return streamtag.load(device="cpu").network


def heard(
    network: TaggerNetwork, sounds: NDArray[np.float32], precision: str, forgetful: bool = False
) -> NDArray[np.float32]:
    """sounds [N, T] -> probabilities [F, N, tags] of its whole hops."""
    hop, rows = BatchedTagger(network, len(sounds), precision), np.arange(len(sounds))
    frames = []
    for start in range(0, sounds.shape[1] - HOP + 1, HOP):
        if forgetful:
            hop.forget(rows)
        frames.append(hop.step(np.ascontiguousarray(sounds[:, start : start + HOP]), rows))
    return np.stack(frames)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("streams", [1, 9, 64])
def test_a_frame_is_a_step_of_one_frame(gru: StackedGRU, precision: str, tolerance: float, streams: int) -> None:
    torch.manual_seed(0)
    x, state = torch.randn(streams, 374), 0.5 * torch.randn(streams, 3, 32)
    kept = state.clone()
    expected, expected_moved = gru.step(x[:, None], state)
    for stage in (packed(gru, precision), gru):
        y, moved = stage.frame(x, state)
        assert y.dtype == moved.dtype == torch.float32
        assert torch.equal(state, kept)
        assert torch.equal(y, moved[:, -1])
        torch.testing.assert_close(y, expected[:, 0], atol=tolerance, rtol=0)
        torch.testing.assert_close(moved, expected_moved, atol=tolerance, rtol=0)
    other, _ = packed(gru, precision).frame(x, torch.zeros_like(state))  # control: the state matters
    assert float((other - expected[:, 0]).abs().max()) > 5e-2


EVERY_SIZE = """
import os, sys, torch
from streamtag.cli.bench.streams.process import resident_mib
from streamtag.model import StackedGRU
from streamtag.model import packed_gru
from streamtag.spec import NetworkSpec
packed_gru.ROWS = int(sys.argv[1])
gru = packed_gru.packed(StackedGRU(NetworkSpec(inputs=374, hidden=512, layers=5)), sys.argv[2])
with torch.inference_mode():
    def frame(streams):
        gru.frame(torch.zeros(streams, 374), torch.zeros(streams, 5, 512))
    frame(1), frame(64)
    before = resident_mib(os.getpid())
    for streams in range(1, 65):
        frame(streams)
print(resident_mib(os.getpid()) - before)
"""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batches_of_every_size_take_little_memory(precision: str) -> None:
    """In processes of their own, where no test before has met any size."""

    def grown_mib(rows: int) -> float:
        command = [sys.executable, "-c", EVERY_SIZE, str(rows), precision]
        return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120).stdout)

    assert grown_mib(packed_gru.ROWS) < 25
    assert grown_mib(1) > 40  # the control


def test_bfloat16_is_another_precision_and_no_other_network(gru: StackedGRU) -> None:
    torch.manual_seed(1)
    x, state = torch.randn(9, 374), torch.randn(9, 3, 32)
    exact, rounded = (packed(gru, precision).frame(x, state)[0] for precision in ("float32", "bfloat16"))
    assert 1e-5 < float((rounded - exact).abs().max()) < 2e-2


def test_where_there_is_no_onednn_the_network_itself_steps(gru: StackedGRU, monkeypatch: pytest.MonkeyPatch) -> None:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    assert (packed(gru, "float32") is not gru) == available
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert packed(gru, "float32") is gru


def test_the_shipped_model_says_the_same_of_the_song(shipped: TaggerNetwork, song: Tensor) -> None:
    """Frame by frame, 50 s long; what is allowed is a mean difference of 0.005."""
    sound = song.numpy()[None]
    exact, fast = heard(shipped, sound, "float32"), heard(shipped, sound, "bfloat16")
    difference = np.abs(fast - exact)
    assert 0 < difference.mean() < 5e-4
    assert difference.max() < 1e-2
    without_memory = heard(shipped, sound, "bfloat16", forgetful=True)  # control: what another answer would be
    assert np.abs(without_memory - exact).mean() > 2e-2


def test_batches_equal_single_streams_to_a_rounding(shipped: TaggerNetwork, song: Tensor) -> None:
    sounds = song.numpy()[: 12 * 16 * HOP].reshape(12, -1)
    together = heard(shipped, sounds, "bfloat16")
    difference = np.abs(np.concatenate([heard(shipped, sound[None], "bfloat16") for sound in sounds], 1) - together)
    assert difference.mean() < 1e-4
    assert difference.max() < 5e-3
    assert np.abs(np.diff(together, axis=1)).mean() > 1e-2, "they are different streams"


def test_a_stream_goes_on_in_another_precision(tagger: TaggerNetwork) -> None:
    sound = (0.1 * np.random.default_rng(0).standard_normal((8, 1, HOP))).astype(np.float32)
    here, there, anew = (
        BatchedTagger(tagger, 1),
        BatchedTagger(tagger, 1, "bfloat16"),
        BatchedTagger(tagger, 1, "bfloat16"),
    )
    row = np.array([0])
    for hop in sound[:4]:
        here.step(hop, row)
    there.adopt(0, here.export(0))
    for hop in sound[4:]:
        expected, got, other = here.step(hop, row), there.step(hop, row), anew.step(hop, row)
    np.testing.assert_allclose(got, expected, atol=5e-3)
    assert np.abs(other - expected).max() > 2e-2


def test_the_network_itself_stays_in_float32(tagger: TaggerNetwork) -> None:
    BatchedTagger(tagger, 1, "bfloat16")
    assert all(weight.dtype == torch.float32 for weight in tagger.parameters())


@pytest.mark.parametrize("precision", ["int8", "float16", "", "BFLOAT16"])
def test_other_precisions_are_refused(tagger: TaggerNetwork, precision: str) -> None:
    with pytest.raises(SpecError, match="precision is float32 or bfloat16"):
        BatchedTagger(tagger, 1, precision)
