"""Hops in batches of a few fixed sizes, so that a GPU replays captured work instead of launching it anew.

A hop is about two hundred small kernels, and launching them takes longer than running them. A CUDA graph holds them
all, but always the same ones over the same memory: hence fixed sizes, and tensors that stay where they are.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_BATCH = 512  # streams in one batch: they fill any GPU, and their intermediate tensors take one or two gigabytes
WARM_UP_RUNS = 3  # runs before a capture, in which FFT plans and workspaces of matrix products are created

Work = Callable[[], None]
StepFunction = Callable[[Tensor, Tensor], Tensor]  # audio [B, hop], rows [B] -> results [B, outputs]


class GraphCapture(Protocol):
    """Captures work on tensors that stay where they are."""

    def capture(self, work: Work) -> Work:
        """Return a function that repeats `work`. Runs `work` a few times to warm up."""

    def wait(self) -> None:
        """Wait until all requested work is done."""


class CudaGraphs:
    """Capture work as CUDA graphs, which share the memory of their intermediate tensors. For one thread at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            # the default stream cannot be captured
            self._capture_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            # blocking: the thread sleeps while it waits
            self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._memory = torch.cuda.graph_pool_handle()

    def capture(self, work: Work) -> Work:
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._capture_stream.wait_stream(current)
            try:
                with torch.cuda.stream(self._capture_stream):
                    for _ in range(WARM_UP_RUNS):
                        work()
            finally:  # also after a failure: what it has requested still reads tensors that are about to be freed
                current.wait_stream(self._capture_stream)
            graph = torch.cuda.CUDAGraph()
            # requests of other threads meanwhile are no part of the graph, and no error
            capturing = torch.cuda.graph(graph, self._memory, self._capture_stream, capture_error_mode="thread_local")
            # a capture that fails leaves its stream the current one
            with torch.cuda.stream(current), _no_garbage_collection(), capturing:
                work()

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return replay

    def wait(self) -> None:
        with torch.cuda.device(self._device):
            self._done.record()
            self._done.synchronize()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Free no tensor or graph inside the block just because it is in a cycle: on a GPU that would end a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Batch:
    """Captured work of one batch size over its own tensors: inputs [B, hop + 1], results [B, outputs]."""

    def __init__(self, inputs: Tensor, results: Tensor, step: StepFunction, capture: GraphCapture) -> None:
        self._inputs, self._results = inputs, results
        self._replay = capture.capture(lambda: self._work(step))

    def __call__(self, inputs: Tensor, results: Tensor) -> None:
        self._inputs.copy_(inputs)
        self._replay()
        results.copy_(self._results)

    def _work(self, step: StepFunction) -> None:
        # copied inside: afterwards nothing is needed that another graph may overwrite
        self._results.copy_(step(self._inputs[:, :-1], self._inputs[:, -1].view(torch.int32).long()))


class CudaGraphBatcher:
    """Step any number of streams in batches whose sizes are powers of two up to MAX_BATCH. For one thread at a time.

    One row of the inputs is a hop's samples followed by the number of its row in place of one more float, so that
    one copy to the device carries both. The last inputs of a batch that is not full are silence for `padding_row`.
    """

    def __init__(
        self,
        step: StepFunction,
        shape: tuple[int, int],
        padding_row: int,
        device: torch.device,
        capture: GraphCapture,
    ) -> None:
        """shape: samples of a hop, and values of a result. padding_row: follows the rows of all streams."""
        samples, outputs = shape
        self._step, self._padding_row, self._capture = step, padding_row, capture
        self._batches: dict[int, _Batch] = {}
        self._largest = MAX_BATCH  # smaller where the device has no memory for so many
        capacity = sum(batch_sizes(padding_row))
        pinned = device.type == "cuda"
        self._host_inputs = torch.zeros(capacity, samples + 1, pin_memory=pinned)
        self._host_results = torch.zeros(capacity, outputs, pin_memory=pinned)
        self._device_inputs = self._host_inputs.to(device, copy=True)
        self._device_results = self._host_results.to(device, copy=True)

    @property
    def sizes(self) -> list[int]:
        """Batch sizes captured so far, ascending."""
        return sorted(self._batches)

    def __call__(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return results [M, outputs] for audio [M, hop] of the rows [M].

        Raises what capturing raises; no row has changed then. Where the device has no memory for a batch, the streams
        are computed in smaller ones, from then on.
        """
        count, batches = len(rows), self._captured(len(rows))
        inputs, start = self._host_inputs.numpy(), 0
        row_column = inputs[:, -1:].view(np.int32)[:, 0]
        for size, batch in batches:  # the device computes one while the next one's inputs are copied
            part, filled = slice(start, start + size), min(start + size, count)
            inputs[start:filled, :-1], inputs[filled : part.stop, :-1] = audio[start:filled], 0.0
            row_column[start:filled], row_column[filled : part.stop] = rows[start:filled], self._padding_row
            self._device_inputs[part].copy_(self._host_inputs[part], non_blocking=True)
            batch(self._device_inputs[part], self._device_results[part])
            start = part.stop
        self._host_results[:count].copy_(self._device_results[:count], non_blocking=True)
        self._capture.wait()
        results: NDArray[np.float32] = self._host_results[:count].numpy().copy()
        return results

    def _captured(self, count: int) -> list[tuple[int, _Batch]]:
        """Return batches for `count` streams with their sizes, all captured before any of them is used."""
        while True:
            batches: list[tuple[int, _Batch]] = []
            for size in batch_sizes(count, self._largest):
                try:
                    batches.append((size, self._batch(size)))
                except torch.OutOfMemoryError:
                    if size == 1:
                        raise
                    self._largest = size // 2
                    break
            else:
                return batches

    def _batch(self, size: int) -> _Batch:
        if size not in self._batches:
            # warming up steps only the padding row
            inputs = torch.zeros(size, self._device_inputs.shape[1], device=self._device_inputs.device)
            inputs[:, -1].view(torch.int32).fill_(self._padding_row)
            results = torch.zeros(size, self._device_results.shape[1], device=self._device_results.device)
            self._batches[size] = _Batch(inputs, results, self._step, self._capture)
        return self._batches[size]


def batch_sizes(count: int, largest: int = MAX_BATCH) -> list[int]:
    """Return the batch sizes for `count` streams, the largest first: 512, 512, 512 for 1300; 8 for 5.

    largest: a power of two.
    """
    full, remaining = divmod(count, largest)
    return [largest] * full + ([1 << (remaining - 1).bit_length()] if remaining else [])
