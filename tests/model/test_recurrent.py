"""The stacked GRU against torch.nn.GRU; packed for a CPU it is the same in float32 and close to it in bfloat16."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import streamtag
from streamtag.model import BatchedTagger, NetworkSpec, StackedGRU, TaggerNetwork
from streamtag.model.recurrent import ROW_MULTIPLE
from streamtag.model.streaming import leaves, tree_map
from tests.model.conftest import stack

HOP = 4096


@pytest.fixture(scope="module")
def shipped() -> TaggerNetwork:
    return streamtag.load(device="cpu").network


def probabilities(
    network: TaggerNetwork, audio: NDArray[np.float32], precision: str, reset_context: bool = False
) -> NDArray[np.float32]:
    """Return [F, N, tags] of the whole hops of audio [N, T]."""
    tagger, rows = BatchedTagger(network, len(audio), precision), np.arange(len(audio))
    frames = []
    for start in range(0, audio.shape[1] - HOP + 1, HOP):
        if reset_context:
            tagger.reset_context(rows)
        frames.append(tagger.step(np.ascontiguousarray(audio[:, start : start + HOP]), rows))
    return np.stack(frames)


def test_steps_equal_nn_gru_over_the_whole_sequence() -> None:
    torch.manual_seed(0)
    ours = StackedGRU(NetworkSpec(inputs=7, hidden=16, layers=3, outputs=2))
    theirs = nn.GRU(7, 16, 3, batch_first=True)
    theirs.load_state_dict(ours.gru.state_dict())
    x = torch.randn(4, 20, 7)
    expected, hidden = theirs(x)
    state, parts = ours.initial_state(4), []
    for frame in x.tensor_split(20, dim=1):
        y, state = ours.step(frame, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, hidden.transpose(0, 1), atol=1e-6, rtol=1e-5)


def test_the_reset_gate_is_inside_the_product_if_the_settings_say_so() -> None:
    """Eq. 9 of Song et al. 2018, whose z is 1 - z here."""
    torch.manual_seed(0)
    spec = NetworkSpec(inputs=7, hidden=6, layers=2, outputs=2, reset_after=False)
    ours, after = (StackedGRU(replace(spec, reset_after=b)).requires_grad_(False) for b in (False, True))
    x, state = torch.randn(3, 9, 7), torch.randn(3, 2, 6)
    y, new_state = ours.step(x, state)
    expected = x
    for layer, (w_ih, w_hh, b_ih, b_hh) in enumerate(ours.gru.all_weights):
        (w_r, w_z, w_n), (u_r, u_z, u_n), (b_r, b_z, b_n) = w_ih.chunk(3), w_hh.chunk(3), (b_ih + b_hh).chunk(3)
        h, outputs = state[:, layer], []
        for t in range(9):
            at = expected[:, t]
            r, z = torch.sigmoid(at @ w_r.t() + h @ u_r.t() + b_r), torch.sigmoid(at @ w_z.t() + h @ u_z.t() + b_z)
            h = z * h + (1 - z) * torch.tanh(at @ w_n.t() + (r * h) @ u_n.t() + b_n)
            outputs.append(h)
        torch.testing.assert_close(new_state[:, layer], h, atol=1e-6, rtol=0)
        expected = torch.stack(outputs, dim=1)
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=0)
    after.load_state_dict(ours.state_dict())  # the same names and numbers of weights, another function of them
    assert float((after.step(x, state)[0] - y).abs().max()) > 1e-2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("streams", "frames"), [(1, 1), (9, 1), (64, 1), (1, 5), (9, 5)])
@pytest.mark.parametrize(
    ("cell", "rounding"), [("GRU", 3e-2), ("GRU, reset before", 3e-2), ("LSTM", 5e-2), ("BN-LSTM", 5e-2)]
)
def test_frames_equal_a_step(cell: str, rounding: float, streams: int, frames: int, precision: str) -> None:
    tolerance = rounding if precision == "bfloat16" else 1e-5
    network = stack(cell.split(",")[0], reset_after=cell != "GRU, reset before")
    _, state = network.step(torch.randn(streams, 3, 374), network.initial_state(streams))
    kept, x = tree_map(torch.clone, state), torch.randn(streams, frames, 374)
    expected, expected_state = network.step(x, state)
    for stage in (network.packed(precision), network):
        y, new_state = stage.step(x, state)
        assert y.dtype == torch.float32
        torch.testing.assert_close(y, expected, atol=tolerance, rtol=0)
        for found, wanted in zip(leaves(new_state).values(), leaves(expected_state).values(), strict=True):
            torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)
        assert all(map(torch.equal, leaves(state).values(), leaves(kept).values()))
    other, _ = network.packed(precision).step(x, network.initial_state(streams))  # control: the state matters
    assert (other - expected).abs().max() > tolerance


MEMORY_OF_ALL_SIZES = """
import sys, torch
from pathlib import Path
from streamtag.model import NetworkSpec, StackedGRU, recurrent
recurrent.ROW_MULTIPLE = int(sys.argv[1])
gru = StackedGRU(NetworkSpec(inputs=374, hidden=512, layers=5)).packed(sys.argv[2])
def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) / 256
with torch.inference_mode():
    def frame(streams):
        gru.step(torch.zeros(streams, 1, 374), torch.zeros(streams, 5, 512))
    frame(1), frame(64)
    before = resident_mib()
    for streams in range(1, 65):
        frame(streams)
print(resident_mib() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batches_of_every_size_take_little_memory(precision: str) -> None:
    """In processes of their own, which have not seen any batch size before."""

    def growth_mib(row_multiple: int) -> float:
        command = [sys.executable, "-c", MEMORY_OF_ALL_SIZES, str(row_multiple), precision]
        return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120).stdout)

    assert growth_mib(ROW_MULTIPLE) < 25
    if precision == "float32":  # the control; in bfloat16 it depends on the CPU
        assert growth_mib(1) > 40


def test_without_onednn_the_network_itself_steps(gru: StackedGRU, monkeypatch: pytest.MonkeyPatch) -> None:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    assert (gru.packed("float32") is not gru) == available
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert gru.packed("float32") is gru


def test_bfloat16_changes_the_shipped_models_probabilities_little(shipped: TaggerNetwork, song: Tensor) -> None:
    """The allowed mean difference is 0.005."""
    audio = song.numpy()[None, : 20 * HOP]
    exact, fast = probabilities(shipped, audio, "float32"), probabilities(shipped, audio, "bfloat16")
    difference = np.abs(fast - exact)
    assert 0 < difference.mean() < 5e-4
    assert difference.max() < 1e-2
    without_memory = probabilities(shipped, audio, "bfloat16", reset_context=True)  # control: another answer
    assert np.abs(without_memory - exact).mean() > 20 * difference.mean()


def test_a_saved_row_continues_in_another_precision(tagger: TaggerNetwork) -> None:
    audio = (0.1 * np.random.default_rng(0).standard_normal((8, 1, HOP))).astype(np.float32)
    source, target, fresh = (BatchedTagger(tagger, 1, p) for p in ("float32", "bfloat16", "bfloat16"))
    row = np.array([0])
    for hop in audio[:4]:
        source.step(hop, row)
    target.load_row(0, source.save_row(0))
    for hop in audio[4:]:
        expected, continued, other = source.step(hop, row), target.step(hop, row), fresh.step(hop, row)
    np.testing.assert_allclose(continued, expected, atol=5e-3)
    assert np.abs(other - expected).max() > 2e-2
    assert all(weight.dtype == torch.float32 for weight in tagger.parameters()), "the network itself is unchanged"
