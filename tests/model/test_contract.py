"""One contract for every stage: streaming is a pure step, and how the input is cut does not matter."""

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

HOP = 4096
AUDIO_SIZES = (0, 1, 17, 4095, 4096, 4097, 6144, 44100)
FRAME_SIZES = (0, 1, 2, 7)
relaxed = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True, eq=False)
class Case:
    """A stage with an input for it. hop: samples or frames of input that make an output."""

    name: str
    stage: StreamingModule[Any] = field(repr=False)
    x: Tensor = field(repr=False)
    sizes: tuple[int, ...]
    hop: int
    tolerance: float  # of forward against step and flush; above rounding it is the price of the finite look-ahead


@pytest.fixture(params=["scattering", "gru", "tagger"])
def case(request: pytest.FixtureRequest, scattering: Scattering, gru: StackedGRU, tagger: TaggerNetwork) -> Case:
    torch.manual_seed(0)
    audio = torch.randn(3, 70001) * torch.tensor([0.3, 0.01, 1e-4])[:, None]
    if request.param == "gru":
        return Case("gru", gru, torch.randn(3, 30, 374), FRAME_SIZES, 1, 1e-5)
    stage: StreamingModule[Any] = scattering if request.param == "scattering" else tagger
    return Case(request.param, stage, audio, AUDIO_SIZES, HOP, 5e-3)


def run(stage: StreamingModule[Any], x: Tensor, sizes: Sequence[int]) -> Tensor:
    """The outputs of step over chunks of these sizes (the last of them repeated) and of flush."""
    state, parts, place = stage.initial_state(x.shape[0]), [], 0
    for size in _endless(sizes):
        y, state = stage.step(x[:, place : place + size], state)
        parts.append(y)
        place += size
        if place >= x.shape[1]:
            break
    y, _ = stage.flush(state)
    return torch.cat([*parts, y], dim=1)


def _endless(sizes: Sequence[int]) -> Iterator[int]:
    yield from sizes
    while True:
        yield max(1, sizes[-1])


def distance(a: Tensor, b: Tensor) -> float:
    """Norm of the difference relative to the norm, of the stream where it is largest."""
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
    assert distance(run(case.stage, x, chunks), run(case.stage, x, [max(1, length)])) < 1e-6


@relaxed
@given(length=st.integers(1, 70001))
def test_forward_is_step_and_flush(case: Case, length: int) -> None:
    x = case.x[:, :length] if case.hop > 1 else case.x[:, : 1 + length % case.x.shape[1]]
    assert distance(run(case.stage, x, [5000]), case.stage.forward(x)) < case.tolerance


def test_an_order_of_chunks_matters(case: Case) -> None:
    """The negative control of the two above: they do compare what the network makes of the input's order."""
    assert distance(run(case.stage, case.x.flip(1), [5000]), run(case.stage, case.x, [5000])) > 1e-3


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30, 0.0])
def test_neighbours_do_not_matter(case: Case, garbage: float) -> None:
    polluted = case.x.clone()
    polluted[1] = garbage
    rows = torch.tensor([0, 2])
    clean, dirty = (run(case.stage, x, [case.hop * 2])[rows] for x in (case.x, polluted))
    assert distance(dirty, clean) < 1e-6


@pytest.mark.parametrize("hops", [3, 6])
def test_the_future_does_not_change_the_past(case: Case, hops: int) -> None:
    state = case.stage.initial_state(3)
    past = case.x[:, : hops * case.hop + case.hop // 2]
    y, state = case.stage.step(past, state)
    before = y.clone()
    for future in (torch.randn_like(case.x), torch.zeros_like(case.x)):
        case.stage.step(future, state)
    assert torch.equal(y, before)
    again, _ = case.stage.step(past, case.stage.initial_state(3))
    assert torch.equal(again, before)


def test_a_step_leaves_its_state_as_it_was(case: Case) -> None:
    _, state = case.stage.step(case.x[:, : 3 * case.hop], case.stage.initial_state(3))
    first, _ = case.stage.step(case.x[:, : 2 * case.hop], state)
    second, _ = case.stage.step(case.x[:, : 2 * case.hop], state)
    assert torch.equal(first, second)


def test_reset_is_fresh_and_without_it_the_past_shows(case: Case) -> None:
    x = case.x
    _, used = case.stage.step(x[:, : 4 * case.hop], case.stage.initial_state(3))
    reset = where(torch.tensor([False, True, False]), case.stage.initial_state(3), used)
    new = x[:, : 4 * case.hop] * 0.5
    fresh, _ = case.stage.step(new, case.stage.initial_state(3))
    count = fresh.shape[1]
    y, _ = case.stage.step(new, reset)
    assert distance(y[1:2, -count:], fresh[1:2]) < 1e-6
    stale, _ = case.stage.step(new, used)
    assert distance(stale[1:2, -count:], fresh[1:2]) > 1e-3
    assert distance(y[[0, 2]], stale[[0, 2]]) < 1e-6, "the others go on"


def test_hold_stops_one_stream_alone(case: Case) -> None:
    hop = case.hop
    _, before = case.stage.step(case.x[:, : 3 * hop], case.stage.initial_state(3))
    moved_y, moved = case.stage.step(case.x[:, 3 * hop : 5 * hop], before)
    held = where(torch.tensor([False, True, False]), before, moved)
    y, _ = case.stage.step(case.x[:, 5 * hop : 7 * hop], held)
    other, _ = case.stage.step(case.x[:, 5 * hop : 7 * hop], before)
    went, _ = case.stage.step(case.x[:, 5 * hop : 7 * hop], moved)
    assert distance(y[1:2], other[1:2]) < 1e-6
    assert distance(y[[0, 2]], went[[0, 2]]) < 1e-6
    assert distance(y[1:2], went[1:2]) > 1e-3, "without hold the missed input shows"
    assert moved_y.shape[1] == 2 if hop == 1 else moved_y.shape[1] >= 1


def test_streams_can_be_taken_out(case: Case) -> None:
    _, state = case.stage.step(case.x[:, : 3 * case.hop], case.stage.initial_state(3))
    rest = case.x[:, 3 * case.hop : 6 * case.hop]
    y, _ = case.stage.step(rest, state)
    rows = torch.tensor([2, 0])
    alone, _ = case.stage.step(rest[rows], gather_rows(state, rows))
    assert distance(alone, y[rows]) < 1e-6


def test_states_between_hops_cannot_be_mixed(scattering: Scattering) -> None:
    _, state = scattering.step(torch.zeros(2, 100), scattering.initial_state(2))
    with pytest.raises(ValueError, match="same place"):
        where(torch.tensor([True, False]), scattering.initial_state(2), state)


def test_forgetting_changes_what_the_network_knows_and_nothing_else(tagger: TaggerNetwork) -> None:
    audio = torch.randn(2, 12 * HOP, generator=torch.Generator().manual_seed(5)) * 0.1
    _, heard = tagger.step(audio, tagger.initial_state(2))
    forgotten = tagger.reset_context(heard)
    assert forgotten.scattering is heard.scattering
    assert not forgotten.hidden.any()
    assert heard.hidden.any()  # the old state is as it was
    after, _ = tagger.step(audio, forgotten)
    kept, _ = tagger.step(audio, heard)
    assert after.shape == kept.shape  # no warm-up
    assert (after - kept).abs().max() > 1e-3
