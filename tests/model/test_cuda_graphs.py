"""Hops in batches of fixed sizes: all of it but the recording itself; work that runs again stands in for that."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamtag.model import BatchedTagger, TaggerNetwork
from streamtag.model.cuda_graphs import MAX_BATCH, WARM_UP_RUNS, CudaGraphBatcher, CudaGraphs, Work, batch_sizes

HOP = 4096
SLOTS = 12
Need = Callable[[str, bool, str], None]


class Again:
    """Records by remembering what to run: reads and writes the same tensors as a graph, in the same order."""

    def __init__(self) -> None:
        self.recorded = self.repeated = self.waited = 0

    def capture(self, work: Work) -> Work:
        self.recorded += 1
        for _ in range(WARM_UP_RUNS):
            work()

        def repeat() -> None:
            self.repeated += 1
            work()

        return repeat

    def wait(self) -> None:
        self.waited += 1


def audio(streams: int, seed: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal((streams, HOP))).astype(np.float32)


def rows(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


@given(st.integers(0, 10 * MAX_BATCH))
def test_batches_are_few_powers_of_two_that_hold_all_and_waste_less_than_half_of_one(count: int) -> None:
    sizes = batch_sizes(count)
    assert all(size & (size - 1) == 0 and 1 <= size <= MAX_BATCH for size in sizes)
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) >= count
    assert not sizes or sum(sizes) - count < max(1, sizes[-1] / 2)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 5e-3)])
def test_streams_that_come_and_go_get_what_they_get_without_recording(
    tagger: TaggerNetwork, precision: str, tolerance: float
) -> None:
    recorder = Again()
    plain, fixed = BatchedTagger(tagger, SLOTS, precision), BatchedTagger(tagger, SLOTS, precision, capture=recorder)
    rng = np.random.default_rng(1)
    largest = 0.0
    for tick in range(40):
        chosen = rng.permutation(SLOTS)[: rng.integers(1, SLOTS + 1)]
        if tick % 5 == 4:
            for hop in (plain, fixed):
                (hop.reset if tick % 2 else hop.reset_context)(chosen[:2])
        sound = audio(len(chosen), tick) * rng.uniform(0, 3, (len(chosen), 1)).astype(np.float32)
        expected, got = plain.step(sound, chosen), fixed.step(sound, chosen)
        np.testing.assert_allclose(got, expected, atol=tolerance)
        largest = max(largest, float(np.abs(np.diff(expected, axis=0)).max(initial=0)))
    assert largest > 1e-2, "streams differ, so that a mix-up would be seen"
    assert recorder.waited == recorder.repeated == 40, "one batch and one wait a tick"


def test_a_size_is_recorded_once_when_it_is_first_needed(tagger: TaggerNetwork) -> None:
    recorder = Again()
    hop = BatchedTagger(tagger, SLOTS, capture=recorder)
    assert recorder.recorded == 0
    for streams in (3, 4, 3, 1, 12, 9):
        hop.step(audio(streams, streams), np.arange(streams))
    assert recorder.recorded == 3
    assert hop.captured_sizes == [1, 4, 16]


def test_those_that_are_not_in_a_batch_stay_as_they_were(tagger: TaggerNetwork) -> None:
    """Neither the warming up nor the silence that fills a batch touches a stream."""
    hop = BatchedTagger(tagger, SLOTS, capture=Again())
    hop.step(audio(SLOTS, 0), np.arange(SLOTS))
    before = [hop.save_row(row) for row in range(SLOTS)]
    hop.step(audio(5, 1), rows(0, 2, 4, 6, 8))
    after = [hop.save_row(row) for row in range(SLOTS)]
    for row in range(SLOTS):
        same = all(np.array_equal(before[row][name], after[row][name]) for name in before[row])
        assert same == (row not in (0, 2, 4, 6, 8))


def test_more_streams_than_the_largest_batch_holds() -> None:
    """Work of which one sees whose parcel it got: every row's own samples come back, with its number."""
    slots = 2 * MAX_BATCH + 100
    seen = []

    def work(sound: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        seen.append((len(numbers), sound.data_ptr(), int(numbers.max())))
        return torch.stack([sound[:, 0], sound[:, -1], numbers.float()], dim=1)

    recorder = Again()
    batches = CudaGraphBatcher(work, (8, 3), slots, torch.device("cpu"), recorder)
    for count, seed in ((slots, 0), (MAX_BATCH + 1, 1), (slots - 3, 2)):
        rng = np.random.default_rng(seed)
        chosen, sound = rng.permutation(slots)[:count], rng.standard_normal((count, 8)).astype(np.float32)
        np.testing.assert_array_equal(
            batches(sound, chosen), np.stack([sound[:, 0], sound[:, -1], chosen.astype(np.float32)], axis=1)
        )
    assert batches.sizes == [1, 128, MAX_BATCH]
    assert len({place for size, place, _ in seen if size == MAX_BATCH}) == 1, "the same tensors every time"
    assert recorder.waited == 3, "one wait a tick"
    assert max(number for _, _, number in seen) == slots, "what fills a batch goes to the spare row"


def test_a_result_is_not_overwritten_by_the_next(tagger: TaggerNetwork) -> None:
    hop = BatchedTagger(tagger, 2, capture=Again())
    first = hop.step(audio(2, 0), rows(0, 1))
    kept = first.copy()
    hop.step(audio(2, 1), rows(1, 0))
    np.testing.assert_array_equal(first, kept)


def test_what_is_recorded_asks_the_host_for_nothing(tagger: TaggerNetwork) -> None:
    """On the meta device there are no values, so whatever needs one to go on, as a graph cannot, fails."""
    hop = BatchedTagger(copy.deepcopy(tagger).to("meta"), 4)
    sound = torch.empty(3, HOP, device="meta")
    numbers = torch.empty(3, dtype=torch.int64, device="meta")
    with torch.inference_mode():
        assert hop.step_tensors(sound, numbers).shape == (3, 5)
        with pytest.raises((RuntimeError, NotImplementedError)):  # the control
            hop.step_tensors(sound[numbers > 0], numbers)


def test_one_thread_at_a_time_where_work_is_recorded_and_no_lock_elsewhere(tagger: TaggerNetwork) -> None:
    class Turn(nullcontext[None]):
        taken = 0

        def __enter__(self) -> None:
            Turn.taken += 1

    for recorder, expected in ((None, 0), (Again(), 5)):
        Turn.taken = 0
        hop = BatchedTagger(tagger, 2, lock=Turn(), capture=recorder)
        hop.step(audio(1, 0), rows(0))
        hop.reset(rows(0))
        hop.reset_context(rows(0))
        hop.load_row(1, hop.save_row(0))
        assert Turn.taken == expected


def test_a_graph_is_recorded_aside_after_warming_up_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that CUDA is asked for, where there is none."""
    said: list[str] = []

    class Place:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            said.append(f"enter {self.name}")

        def __exit__(self, *_: object) -> None:
            said.append(f"leave {self.name}")

        def wait_stream(self, other: Place) -> None:
            said.append(f"{self.name} waits for {other.name}")

        def __getattr__(self, name: str) -> Callable[[], None]:
            return lambda: said.append(name)

    def graph(_: object, pool: str, stream: Place, capture_error_mode: str) -> Place:
        return Place(f"graph in {pool} on {stream.name}, {capture_error_mode}")

    fakes = {
        "device": lambda _: nullcontext(),
        "Stream": lambda: Place("aside"),
        "current_stream": lambda: Place("current"),
        "stream": lambda stream: stream,
        "Event": lambda blocking: Place(f"event {blocking}"),
        "graph_pool_handle": lambda: "memory",
        "CUDAGraph": lambda: Place("graph"),
        "graph": graph,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    recorder = CudaGraphs(torch.device("cuda:0"))
    repeat = recorder.capture(lambda: said.append("work"))
    captured = "graph in memory on aside, thread_local"
    assert said == [
        *(
            "aside waits for current",
            "enter aside",
            *["work"] * WARM_UP_RUNS,
            "leave aside",
            "current waits for aside",
        ),
        *(f"enter {captured}", "work", f"leave {captured}"),
    ]
    said.clear()
    repeat()
    recorder.wait()
    assert said == ["replay", "record", "synchronize"]


@pytest.fixture
def on_gpu(tagger: TaggerNetwork, need: Need) -> TaggerNetwork:
    need("cuda", torch.cuda.is_available(), "needs a CUDA device")
    return copy.deepcopy(tagger).to("cuda")


def test_cuda_graphs_give_what_the_cpu_gives(tagger: TaggerNetwork, on_gpu: TaggerNetwork) -> None:
    here, there = BatchedTagger(tagger, SLOTS), BatchedTagger(on_gpu, SLOTS, lock=threading.Lock())
    rng = np.random.default_rng(2)
    for tick in range(40):
        chosen = rng.permutation(SLOTS)[: rng.integers(1, SLOTS + 1)]
        if tick % 5 == 4:
            for hop in (here, there):
                (hop.reset if tick % 2 else hop.reset_context)(chosen[:2])
                hop.load_row(0, here.save_row(1))
        sound = audio(len(chosen), tick)
        np.testing.assert_allclose(there.step(sound, chosen), here.step(sound, chosen), atol=1e-4)
    assert there.captured_sizes == [1, 2, 4, 8, 16]


def test_a_cuda_graph_reads_what_lies_there_when_it_is_repeated(need: Need) -> None:
    need("cuda", torch.cuda.is_available(), "needs a CUDA device")
    recorder = CudaGraphs(torch.device("cuda:0"))
    x, y = torch.ones(4, device="cuda"), torch.zeros(4, device="cuda")

    def work() -> None:
        y.copy_(2 * x)

    repeat = recorder.capture(work)
    x.fill_(21)
    repeat()
    recorder.wait()
    assert y.tolist() == [42.0] * 4
