"""The contract of every streaming module: a step is pure, and the chunking of the input does not matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamtag.model import Scattering, StackedGRU, StreamingModule, TaggerNetwork, gather_rows, where
from tests.model.conftest import by_time, stack

HOP = 4096
AUDIO_SIZES = (0, 1, 17, 4095, 4096, 4097, 6144, 44100)
FRAME_SIZES = (0, 1, 2, 7)
relaxed = settings(max_examples=8, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True, eq=False)
class Case:
    """A module with an input for it. hop: samples or frames of input per output."""

    name: str
    module: StreamingModule[Any] = field(repr=False)
    x: Tensor = field(repr=False)
    sizes: tuple[int, ...]
    hop: int
    tolerance: float  # of forward against step and flush; what exceeds rounding is due to the finite look-ahead


KINDS = (
    "scattering", "gru", "gru, reset before", "lstm", "bn-lstm", "tagger", "mel", "cqt", "mel tagger", "cqt tagger",
    "CNN 2", "transposed GRU",
)  # fmt: skip


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, scattering: Scattering, gru: StackedGRU, tagger: TaggerNetwork) -> Case:
    torch.manual_seed(0)
    audio = torch.randn(3, 70001) * torch.tensor([0.3, 0.01, 1e-4])[:, None]
    if request.param == "gru":
        return Case("gru", gru, torch.randn(3, 30, 374), FRAME_SIZES, 1, 1e-5)
    if request.param == "gru, reset before":
        return Case(request.param, stack("GRU", reset_after=False), torch.randn(3, 30, 374), FRAME_SIZES, 1, 1e-5)
    if request.param in ("lstm", "bn-lstm"):
        return Case(request.param, stack(request.param.upper()), torch.randn(3, 30, 374), FRAME_SIZES, 1, 1e-5)
    if request.param in ("CNN 2", "transposed GRU"):
        return Case(request.param, stack(request.param), torch.randn(3, 30, 374), FRAME_SIZES, 1, 1e-5)
    if request.param.startswith(("mel", "cqt")):
        network = by_time(request.param.split()[0])
        is_whole = request.param.endswith("tagger")
        return Case(request.param, network if is_whole else network.front_end, audio, AUDIO_SIZES, HOP, 1e-5)
    module: StreamingModule[Any] = scattering if request.param == "scattering" else tagger
    return Case(request.param, module, audio, AUDIO_SIZES, HOP, 5e-3)


def run(module: StreamingModule[Any], x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the outputs of step over chunks of these sizes, the last of them repeated, and of flush."""
    state, parts, start = module.initial_state(x.shape[0]), [], 0
    for size in _endless(sizes):
        y, state = module.step(x[:, start : start + size], state)
        parts.append(y)
        start += size
        if start >= x.shape[1]:
            break
    y, _ = module.flush(state)
    return torch.cat([*parts, y], dim=1)


def _endless(sizes: Sequence[int]) -> Iterator[int]:
    yield from sizes
    while True:
        yield max(1, sizes[-1])


def distance(a: Tensor, b: Tensor) -> float:
    """Return the norm of the difference relative to the norm, for the stream where it is largest."""
    assert a.shape == b.shape
    if a.numel() == 0:
        return 0.0
    return float(((a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1).clamp_min(1e-12)).max())


@relaxed
@given(data=st.data())
def test_any_two_chunkings_agree(case: Case, data: st.DataObject) -> None:
    size = st.one_of(st.sampled_from(case.sizes), st.integers(0, 3 * case.hop))
    chunks = data.draw(st.lists(size, min_size=1, max_size=8))
    chunks[-1] = max(chunks[-1], case.hop // 3 + 1)
    length = data.draw(st.integers(0, case.x.shape[1]))
    x = case.x[:, :length]
    assert distance(run(case.module, x, chunks), run(case.module, x, [max(1, length)])) < 1e-6


@relaxed
@given(length=st.integers(1, 70001))
def test_forward_equals_step_and_flush(case: Case, length: int) -> None:
    x = case.x[:, :length] if case.hop > 1 else case.x[:, : 1 + length % case.x.shape[1]]
    assert distance(run(case.module, x, [5000]), case.module.forward(x)) < case.tolerance


def test_the_order_of_the_input_matters(case: Case) -> None:
    """The negative control of the two tests above."""
    assert distance(run(case.module, case.x.flip(1), [5000]), run(case.module, case.x, [5000])) > 1e-3


def test_neighbours_do_not_matter(case: Case) -> None:
    length = min(30_000, case.x.shape[1])
    garbage = [torch.full((1, *case.x.shape[1:]), value) for value in (float("nan"), float("inf"), 1e30, 0.0)]
    polluted = torch.cat([case.x[:1], *garbage, case.x[2:]])[:, :length]
    clean = run(case.module, case.x[:, :length], [case.hop * 2])[[0, 2]]
    assert distance(run(case.module, polluted, [case.hop * 2])[[0, -1]], clean) < 1e-6


def test_future_input_does_not_change_past_output(case: Case) -> None:
    state = case.module.initial_state(3)
    past = case.x[:, : 3 * case.hop + case.hop // 2]
    y, state = case.module.step(past, state)
    before = y.clone()
    for future in (torch.randn_like(case.x), torch.zeros_like(case.x)):
        case.module.step(future, state)
    assert torch.equal(y, before)
    again, _ = case.module.step(past, case.module.initial_state(3))
    assert torch.equal(again, before)


def test_a_step_does_not_change_its_input_state(case: Case) -> None:
    _, state = case.module.step(case.x[:, : 3 * case.hop], case.module.initial_state(3))
    first, _ = case.module.step(case.x[:, : 2 * case.hop], state)
    second, _ = case.module.step(case.x[:, : 2 * case.hop], state)
    assert torch.equal(first, second)


def test_a_reset_stream_equals_a_new_one(case: Case) -> None:
    x = case.x
    _, used = case.module.step(x[:, : 4 * case.hop], case.module.initial_state(3))
    reset = where(torch.tensor([False, True, False]), case.module.initial_state(3), used)
    new = x[:, : 4 * case.hop] * 0.5
    fresh, _ = case.module.step(new, case.module.initial_state(3))
    count = fresh.shape[1]
    y, _ = case.module.step(new, reset)
    assert distance(y[1:2, -count:], fresh[1:2]) < 1e-6
    stale, _ = case.module.step(new, used)
    assert distance(stale[1:2, -count:], fresh[1:2]) > 1e-3, "without the reset the past shows"
    assert distance(y[[0, 2]], stale[[0, 2]]) < 1e-6, "the other streams continue"


def test_a_held_stream_misses_its_input_and_the_others_do_not(case: Case) -> None:
    hop = case.hop
    _, before = case.module.step(case.x[:, : 3 * hop], case.module.initial_state(3))
    stepped_y, stepped = case.module.step(case.x[:, 3 * hop : 5 * hop], before)
    held = where(torch.tensor([False, True, False]), before, stepped)
    y, _ = case.module.step(case.x[:, 5 * hop : 7 * hop], held)
    other, _ = case.module.step(case.x[:, 5 * hop : 7 * hop], before)
    unheld, _ = case.module.step(case.x[:, 5 * hop : 7 * hop], stepped)
    assert distance(y[1:2], other[1:2]) < 1e-6
    assert distance(y[[0, 2]], unheld[[0, 2]]) < 1e-6
    assert distance(y[1:2], unheld[1:2]) > 1e-3, "without hold the missed input shows"
    assert stepped_y.shape[1] == 2 if hop == 1 else stepped_y.shape[1] >= 1


def test_rows_of_a_batch_can_be_gathered(case: Case) -> None:
    _, state = case.module.step(case.x[:, : 3 * case.hop], case.module.initial_state(3))
    x = case.x[:, 3 * case.hop : 6 * case.hop]
    y, _ = case.module.step(x, state)
    rows = torch.tensor([2, 0])
    alone, _ = case.module.step(x[rows], gather_rows(state, rows))
    assert distance(alone, y[rows]) < 1e-6


def test_states_between_hops_cannot_be_mixed(scattering: Scattering) -> None:
    _, state = scattering.step(torch.zeros(2, 100), scattering.initial_state(2))
    with pytest.raises(ValueError, match="same place"):
        where(torch.tensor([True, False]), scattering.initial_state(2), state)


def test_reset_context_resets_the_gru_only(tagger: TaggerNetwork) -> None:
    audio = torch.randn(2, 12 * HOP, generator=torch.Generator().manual_seed(5)) * 0.1
    _, state = tagger.step(audio, tagger.initial_state(2))
    reset = tagger.reset_context(state)
    assert reset.front_end is state.front_end
    assert not reset.hidden.any()
    assert state.hidden.any()  # the old state is unchanged
    after, _ = tagger.step(audio, reset)
    kept, _ = tagger.step(audio, state)
    assert after.shape == kept.shape  # no warm-up
    assert (after - kept).abs().max() > 1e-3
