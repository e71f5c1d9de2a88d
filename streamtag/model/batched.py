"""One hop of many streams at once: audio of any rows in, their probabilities out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.model.cuda_graphs import CudaGraphBatcher, CudaGraphs, GraphCapture
from streamtag.model.device_errors import report_device_errors
from streamtag.model.front_end import first_frames
from streamtag.model.network import TaggerNetwork
from streamtag.model.recurrent import FrameStack
from streamtag.model.states import Arrays, StreamStates
from streamtag.model.streaming import where

MALLOC_PROBE_BYTES = 31 << 20  # larger than most tensors of a batch, and just below glibc's limit of 32 MiB


class BatchedTagger:
    """Own the states of `rows` streams, all of which are between two hops, and step any of them.

    On a CPU several threads may use it at once, but no two of them the same row. On a GPU the work is captured once
    and then replayed in batches of fixed sizes (see CudaGraphBatcher), by one thread at a time. There every method
    raises DeviceError if the device fails.
    """

    def __init__(
        self,
        network: TaggerNetwork,
        rows: int,
        precision: str = "float32",
        lock: AbstractContextManager[Any] | None = None,
        capture: GraphCapture | None = None,
        states: StreamStates | None = None,
    ) -> None:
        """Allocate the states and pack the recurrent weights.

        precision: of the recurrent products. lock: held wherever only one thread may work at a time; None: there is
        only one thread. capture: how work is captured; None: as CUDA graphs on a GPU, not at all on a CPU. states:
        of at least so many rows, which it shares; None: its own. Raises SpecError for an unknown precision, DeviceError
        if a GPU has not enough memory.
        """
        self._network = network
        # many streams with several frames a hop are faster with torch's own layers
        is_packed = network.spec.frames_per_hop == 1 or precision != "float32" or network.head.weight.is_cuda
        self._recurrent: FrameStack[Any] = network.recurrent.packed(precision) if is_packed else network.recurrent
        self._device = network.head.weight.device
        self.hop = network.spec.hop
        self._batcher: CudaGraphBatcher | None = None
        self._lock: AbstractContextManager[Any] = nullcontext()
        with torch.inference_mode(), report_device_errors(f"the states of {rows:,} streams"):
            if capture is None and self._device.type == "cuda":
                capture = CudaGraphs(self._device)
            if capture is not None:
                self._lock = lock or nullcontext()
                self._states = states or StreamStates(network, rows + 1)  # with a row for padding
                shape = self.hop, network.head.out_features
                self._batcher = CudaGraphBatcher(self.step_tensors, shape, rows, self._device, capture)
            else:
                keep_freed_memory()
                self._states = states or StreamStates(network, rows)

    @property
    def row_bytes(self) -> int:
        """Bytes of the device's memory that one stream needs."""
        return self._states.row_bytes

    @property
    def captured_sizes(self) -> list[int]:
        """Batch sizes captured so far, ascending; none on a CPU."""
        return [] if self._batcher is None else self._batcher.sizes

    @torch.inference_mode()
    def step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return probabilities [M, tags] for finite audio [M, hop] of the rows [M], which are all different.

        A stream begins with half a hop of silence. The result of its first hop belongs to the time before its start
        and must be ignored.
        """
        if self._batcher is not None:
            with self._lock, report_device_errors():
                return self._batcher(audio, rows)
        indices, samples = torch.from_numpy(rows).to(self._device), torch.from_numpy(audio).to(self._device)
        return self.step_tensors(samples, indices).numpy()

    def reset(self, rows: NDArray[np.int64]) -> None:
        """Restart the rows as new streams."""
        with self._lock, report_device_errors():
            self._states.reset(rows)

    def reset_context(self, rows: NDArray[np.int64]) -> None:
        """Reset the recurrent state of the rows; their audio history stays."""
        with self._lock, report_device_errors():
            self._states.reset_context(rows)

    def save_row(self, row: int) -> dict[str, NDArray[Any]]:
        """Return a copy of everything that a row holds, by name."""
        with self._lock, report_device_errors():
            return self._states.save_row(row)

    def load_row(self, row: int, arrays: Arrays) -> None:
        """Restore a saved row. Raises SpecError if the arrays do not have this model's shapes."""
        with self._lock, report_device_errors():
            self._states.load_row(row, arrays)

    def step_tensors(self, audio: Tensor, rows: Tensor) -> Tensor:
        """Return probabilities [M, tags] as `step` does, on the device, without ever waiting for a value of it."""
        return self._tag(*self._front_end(audio, rows), rows)

    def _front_end(self, audio: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return a hop's frames [M, frames_per_hop, paths] for audio [M, hop], and the number of the hop [M]."""
        before = self._states.front_end.gather(rows)
        frames, after = self._network.front_end.step(audio, before)
        self._states.front_end.scatter(rows, after)
        return frames, before.index

    def _tag(self, frames: Tensor, index: Tensor, rows: Tensor) -> Tensor:
        """Return probabilities [M, tags] for the frames of hop `index`. Frames below 0 change no state."""
        network, hidden = self._network, self._states.hidden.gather(rows)
        numbers = first_frames(index, frames.shape[1], network.spec)
        for x in network.normalization(frames).split(network.group, dim=1):
            y, new_hidden = self._recurrent.step(x, hidden)
            begins = numbers < 0
            # a GPU must not wait for the answer
            hidden = new_hidden if begins.is_cpu and not bool(begins.any()) else where(begins, hidden, new_hidden)
            numbers = numbers + network.group
        self._states.hidden.scatter(rows, hidden)
        return torch.sigmoid(network.head(y[:, -1]))


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks of memory that are as large as intermediate tensors.

    It returns large ones to the system otherwise, and soon requests them again, page by page. After one block of a
    size was freed, it keeps all smaller ones (mallopt(3): dynamic thresholds).
    """
    torch.empty(MALLOC_PROBE_BYTES, dtype=torch.uint8)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let `count` threads compute one torch operation inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
