"""Hops in batches of fixed sizes: everything but the CUDA graphs themselves, which a fake replaces on a CPU.

`tests/device` runs the same on a GPU.
"""

from __future__ import annotations

import copy
import gc
from contextlib import nullcontext
from unittest.mock import MagicMock, call

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.model import BatchedTagger, TaggerNetwork
from streamtag.model.cuda_graphs import MAX_BATCH, WARM_UP_RUNS, CudaGraphBatcher, CudaGraphs, batch_sizes
from tests.model.fake_capture import FakeCapture

HOP = 4096
SLOTS = 12


def audio(streams: int, seed: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal((streams, HOP))).astype(np.float32)


def rows(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


@given(st.integers(0, 10 * MAX_BATCH), st.sampled_from([1, 8, MAX_BATCH]))
def test_batch_sizes_are_few_powers_of_two_that_waste_less_than_half_of_the_last(count: int, largest: int) -> None:
    sizes = batch_sizes(count, largest)
    assert all(size & (size - 1) == 0 and 1 <= size <= largest for size in sizes)
    assert sum(sizes) <= sum(batch_sizes(count)), "fits what larger batches need"
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) >= count
    assert not sizes or sum(sizes) - count < max(1, sizes[-1] / 2)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 5e-3)])
def test_streams_that_come_and_go_get_the_same_results_as_without_capture(
    tagger: TaggerNetwork, precision: str, tolerance: float
) -> None:
    capture = FakeCapture()
    plain, captured = BatchedTagger(tagger, SLOTS, precision), BatchedTagger(tagger, SLOTS, precision, capture=capture)
    rng = np.random.default_rng(1)
    largest_difference = 0.0
    for turn in range(20):
        chosen = rng.permutation(SLOTS)[: rng.integers(1, SLOTS + 1)]
        if turn % 5 == 4:
            for batched in (plain, captured):
                (batched.reset if turn % 2 else batched.reset_context)(chosen[:2])
        samples = audio(len(chosen), turn) * rng.uniform(0, 3, (len(chosen), 1)).astype(np.float32)
        expected, found = plain.step(samples, chosen), captured.step(samples, chosen)
        np.testing.assert_allclose(found, expected, atol=tolerance)
        largest_difference = max(largest_difference, float(np.abs(np.diff(expected, axis=0)).max(initial=0)))
    assert largest_difference > 1e-2, "streams differ, so an exchange of rows would be seen"
    assert capture.waits == capture.replays == 20, "one batch and one wait per step"


def test_a_size_is_captured_once_when_it_is_first_needed(tagger: TaggerNetwork) -> None:
    capture = FakeCapture()
    batched = BatchedTagger(tagger, SLOTS, capture=capture)
    assert capture.captures == 0
    for streams in (3, 4, 3, 1, 12, 9):
        batched.step(audio(streams, streams), np.arange(streams))
    assert capture.captures == 3
    assert batched.captured_sizes == [1, 4, 16]


def test_more_streams_than_the_largest_batch_keep_their_rows() -> None:
    """The work returns its input, so every row's own samples come back, with its number."""
    slots = 2 * MAX_BATCH + 100
    seen = []

    def work(samples: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        seen.append((len(numbers), samples.data_ptr(), int(numbers.max())))
        return torch.stack([samples[:, 0], samples[:, -1], numbers.float()], dim=1)

    capture = FakeCapture()
    batcher = CudaGraphBatcher(work, (8, 3), slots, torch.device("cpu"), capture)
    for count, seed in ((slots, 0), (MAX_BATCH + 1, 1), (slots - 3, 2)):
        rng = np.random.default_rng(seed)
        chosen, samples = rng.permutation(slots)[:count], rng.standard_normal((count, 8)).astype(np.float32)
        np.testing.assert_array_equal(
            batcher(samples, chosen), np.stack([samples[:, 0], samples[:, -1], chosen.astype(np.float32)], axis=1)
        )
    assert batcher.sizes == [1, 128, MAX_BATCH]
    assert len({address for size, address, _ in seen if size == MAX_BATCH}) == 1, "the same tensors every time"
    assert capture.waits == 3, "one wait per call"
    assert max(number for _, _, number in seen) == slots, "padding goes to the padding row"


def test_a_result_is_not_overwritten_by_the_next(tagger: TaggerNetwork) -> None:
    batched = BatchedTagger(tagger, 2, capture=FakeCapture())
    first = batched.step(audio(2, 0), rows(0, 1))
    kept = first.copy()
    batched.step(audio(2, 1), rows(1, 0))
    np.testing.assert_array_equal(first, kept)


def test_captured_work_needs_no_value_on_the_host(tagger: TaggerNetwork) -> None:
    """On the meta device there are no values, so anything that needs one, which a graph cannot provide, fails."""
    batched = BatchedTagger(copy.deepcopy(tagger).to("meta"), 4)
    samples = torch.empty(3, HOP, device="meta")
    numbers = torch.empty(3, dtype=torch.int64, device="meta")
    with torch.inference_mode():
        assert batched.step_tensors(samples, numbers).shape == (3, 5)
        with pytest.raises((RuntimeError, NotImplementedError)):  # the control
            batched.step_tensors(samples[numbers > 0], numbers)


def test_the_lock_is_held_only_where_work_is_captured(tagger: TaggerNetwork) -> None:
    class Lock(nullcontext[None]):
        entered = 0

        def __enter__(self) -> None:
            Lock.entered += 1

    for capture, expected in ((None, 0), (FakeCapture(), 5)):
        Lock.entered = 0
        batched = BatchedTagger(tagger, 2, lock=Lock(), capture=capture)
        batched.step(audio(1, 0), rows(0))
        batched.reset(rows(0))
        batched.reset_context(rows(0))
        batched.load_row(1, batched.save_row(0))
        assert Lock.entered == expected


def test_a_graph_is_captured_on_a_second_stream_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls to CUDA, without a CUDA device."""
    cuda = MagicMock()
    for name in ("device", "Stream", "current_stream", "stream", "Event", "graph_pool_handle", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    collects: list[bool] = []  # garbage, which could hold another graph
    cuda.work.side_effect = lambda: collects.append(gc.isenabled())
    graphs = CudaGraphs(torch.device("cuda:0"))
    cuda.reset_mock()
    replay = graphs.capture(cuda.work)
    assert collects == [*[True] * WARM_UP_RUNS, False]
    assert gc.isenabled()
    order = [name for name, *_ in cuda.mock_calls if name.endswith(("wait_stream", "work", "__enter__", "__exit__"))]
    assert [name for name in order if not name.startswith("device")] == [
        *("Stream().wait_stream", "stream().__enter__", *["work"] * WARM_UP_RUNS, "stream().__exit__"),
        *("current_stream().wait_stream", "stream().__enter__"),
        *("graph().__enter__", "work", "graph().__exit__", "stream().__exit__"),
    ]
    second, current, memory = cuda.Stream(), cuda.current_stream(), cuda.graph_pool_handle()
    assert cuda.stream.call_args_list == [call(second), call(current)]
    cuda.graph.assert_called_once_with(cuda.CUDAGraph(), memory, second, capture_error_mode="thread_local")
    cuda.reset_mock()
    replay()
    graphs.wait()
    order = [name for name, *_ in cuda.mock_calls if not name.startswith("device")]
    assert order == ["CUDAGraph().replay", "Event().record", "Event().synchronize"]
