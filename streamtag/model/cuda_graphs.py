"""Hops in batches of a few fixed sizes, so that a device repeats recorded work instead of being told it anew.

A hop is some two hundred small kernels, and to ask a GPU for them takes longer than they do. A graph holds them all,
but always the same ones over the same memory: hence fixed sizes, and tensors that stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LARGEST = 512  # streams in one batch: they fill any GPU, and their intermediate tensors take a gigabyte or two
WARM_UP = 3  # times that work runs before it is recorded: FFT plans and matrix products' workspaces come to be then

Work = Callable[[], None]


class GraphCapture(Protocol):
    """How work on tensors that stay where they are is recorded."""

    def record(self, work: Work) -> Work:
        """-> what does the same again. `work` itself runs some times for warming up."""

    def wait(self) -> None:
        """Until all that was asked for has been done."""


class CudaGraphs:
    """Recorded as CUDA graphs, which share the memory of what they need in between. Used by one thread at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            # the default stream cannot be recorded
            self._aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            # the thread sleeps while it waits for it
            self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._memory = torch.cuda.graph_pool_handle()

    def record(self, work: Work) -> Work:
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._aside.wait_stream(current)
            with torch.cuda.stream(self._aside):
                for _ in range(WARM_UP):
                    work()
            current.wait_stream(self._aside)
            graph = torch.cuda.CUDAGraph()
            # what other threads ask of the device meanwhile is no part of it, and no error
            with torch.cuda.graph(graph, self._memory, self._aside, capture_error_mode="thread_local"):
                work()

        def repeat() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return repeat

    def wait(self) -> None:
        with torch.cuda.device(self._device):
            self._done.record()
            self._done.synchronize()


class Batch:
    """Work of one size over tensors of its own: parcels [B, hop + 1] in, results [B, outputs] out."""

    def __init__(self, parcels: Tensor, results: Tensor, hop: Hop, recorder: GraphCapture) -> None:
        self._parcels, self._results = parcels, results
        self._repeat = recorder.record(lambda: self._work(hop))

    def __call__(self, parcels: Tensor, results: Tensor) -> None:
        self._parcels.copy_(parcels)
        self._repeat()
        results.copy_(self._results)

    def _work(self, hop: Hop) -> None:
        # copied inside: nothing that another graph may overwrite is needed after this one
        self._results.copy_(hop(self._parcels[:, :-1], self._parcels[:, -1].view(torch.int32).long()))


Hop = Callable[[Tensor, Tensor], Tensor]  # audio [B, hop], rows [B] -> results [B, outputs]


class CudaGraphBatcher:
    """Any number of streams' hops, as batches of sizes that are powers of two up to LARGEST, with one copy to the
    device and one back. Used by one thread at a time.

    A parcel is a hop's samples and, in one more float's place, the number of its row, so that both are one copy.
    Where a batch is larger than what there is to do, its last parcels are silence for the `spare` row.
    """

    def __init__(
        self, hop: Hop, shape: tuple[int, int], spare: int, device: torch.device, recorder: GraphCapture
    ) -> None:
        """shape: samples of a hop, and results of one; spare: the row that no stream has, after all that have one."""
        samples, outputs = shape
        self._hop, self._spare, self._recorder = hop, spare, recorder
        self._batches: dict[int, Batch] = {}
        most = sum(parts(spare))
        pinned = device.type == "cuda"
        self._sent = torch.zeros(most, samples + 1, pin_memory=pinned)
        self._got = torch.zeros(most, outputs, pin_memory=pinned)
        self._there_in = self._sent.to(device, copy=True)
        self._there_out = self._got.to(device, copy=True)

    @property
    def sizes(self) -> list[int]:
        """Those recorded so far."""
        return sorted(self._batches)

    def __call__(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """audio [M, hop] of the rows [M] -> results [M, outputs]."""
        count, sizes = len(rows), parts(len(rows))
        total = sum(sizes)
        parcels = self._sent.numpy()
        parcels[:count, :-1], parcels[count:total, :-1] = audio, 0.0
        numbers = parcels[:, -1:].view(np.int32)[:, 0]
        numbers[:count], numbers[count:total] = rows, self._spare
        self._there_in[:total].copy_(self._sent[:total], non_blocking=True)
        start = 0
        for size in sizes:
            part = slice(start, start + size)
            self._batch(size)(self._there_in[part], self._there_out[part])
            start += size
        self._got[:count].copy_(self._there_out[:count], non_blocking=True)
        self._recorder.wait()
        results: NDArray[np.float32] = self._got[:count].numpy().copy()
        return results

    def _batch(self, size: int) -> Batch:
        if size not in self._batches:
            # warming up steps the spare row alone
            parcels = torch.zeros(size, self._there_in.shape[1], device=self._there_in.device)
            parcels[:, -1].view(torch.int32).fill_(self._spare)
            results = torch.zeros(size, self._there_out.shape[1], device=self._there_out.device)
            self._batches[size] = Batch(parcels, results, self._hop, self._recorder)
        return self._batches[size]


def parts(count: int) -> list[int]:
    """The sizes of the batches for `count` streams, the largest first: 1300 -> 512, 512, 512; 5 -> 8."""
    whole, rest = divmod(count, LARGEST)
    return [LARGEST] * whole + ([1 << (rest - 1).bit_length()] if rest else [])
