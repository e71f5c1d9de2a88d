"""One hop of many streams at once: the audio of whichever rows have one in, their probabilities out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamtag.model.cuda_graphs import CudaGraphBatcher, CudaGraphs, GraphCapture
from streamtag.model.network import TaggerNetwork
from streamtag.model.packed_gru import packed
from streamtag.model.state_table import Allocate, Arrays
from streamtag.model.states import StreamStates
from streamtag.model.streaming import where

SLICE = 16  # streams whose scattering is computed together on a CPU: what they need fits its caches
LARGE = 31 << 20  # bytes: more than any tensor of a slice, and the most that glibc can be taught to keep


class BatchedTagger:
    """Owns the states of `rows` streams, all of which stand between two hops.

    On a CPU several threads may use it at once, but no row two of them. On a GPU work is recorded once and then
    repeated in batches of fixed sizes (see FixedBatches), by one thread at a time.
    """

    def __init__(
        self,
        network: TaggerNetwork,
        rows: int,
        precision: str = "float32",
        turn: AbstractContextManager[Any] | None = None,
        recorder: GraphCapture | None = None,
        allocate: Allocate | None = None,
    ) -> None:
        """precision: of the GRU's products. turn: a lock, held wherever one thread at a time may work; None: there is
        but one. recorder: how work is recorded; None: as CUDA graphs on a GPU, on a CPU not at all. allocate: memory
        for the states, as HopStates has it.

        Raises SpecError if there is no such precision.
        """
        self._network = network
        self._gru = packed(network.gru, precision)
        self._device = network.head.weight.device
        self.hop = network.spec.hop
        self._batches: CudaGraphBatcher | None = None
        self._turn: AbstractContextManager[Any] = nullcontext()
        with torch.inference_mode():
            if recorder is None and self._device.type == "cuda":
                recorder = CudaGraphs(self._device)
            if recorder is not None:
                self._turn = turn or nullcontext()
                shape = self.hop, network.head.out_features
                self._batches = CudaGraphBatcher(self._recorded, shape, rows, self._device, recorder)
                rows += 1  # the spare one
            else:
                # glibc returns large freed blocks to the system, and fetches them anew, page by page, a moment later.
                # Having seen one of a size freed it keeps what is smaller (mallopt(3): its thresholds are dynamic).
                torch.empty(LARGE, dtype=torch.uint8)
            self._states = StreamStates(network, rows, allocate)

    @property
    def nbytes(self) -> int:
        """Bytes of the device that a stream needs."""
        return self._states.nbytes

    @torch.inference_mode()
    def step(self, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """audio [M, hop], finite, of the rows [M], all different -> probabilities [M, tags].

        A stream begins with half a hop of silence. What its first hop gives stands for the time before its start.
        """
        if self._batches is not None:
            with self._turn:
                return self._batches(audio, rows)
        where, sound = self._there(rows), self._there(audio)
        parts = zip(torch.split(sound, SLICE), torch.split(where, SLICE), strict=True)
        frames, starting = (torch.cat(part) for part in zip(*(self._scatter(*part) for part in parts), strict=True))
        return self._tag(frames, starting, where).numpy()

    def reset(self, rows: NDArray[np.int64]) -> None:
        """They begin anew."""
        with self._turn:
            self._states.reset(rows)

    def forget(self, rows: NDArray[np.int64]) -> None:
        """They go on, but the GRU knows nothing of what it heard."""
        with self._turn:
            self._states.forget(rows)

    def export(self, row: int) -> dict[str, NDArray[Any]]:
        """All that a row remembers, by name."""
        with self._turn:
            return self._states.export(row)

    def adopt(self, row: int, arrays: Arrays) -> None:
        """The row goes on where the exported one stood. Raises SpecError if it is not of this model's shapes."""
        with self._turn:
            self._states.adopt(row, arrays)

    def _recorded(self, audio: Tensor, rows: Tensor) -> Tensor:
        """A whole hop that asks the host for nothing."""
        return self._tag(*self._scatter(audio, rows), rows)

    def _scatter(self, audio: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """audio [M, hop] -> frames [M, 1, paths], and which streams have just begun [M]."""
        before = self._states.scattering.gather_rows(rows)
        frames, after = self._network.scattering.step(audio, before)
        self._states.scattering.put(rows, after)
        return frames, before.index < 0

    def _tag(self, frames: Tensor, starting: Tensor, rows: Tensor) -> Tensor:
        """frames [M, 1, paths] -> probabilities [M, tags]. Nothing is heard before a stream's start."""
        network, hidden = self._network, self._states.hidden.gather_rows(rows)
        y, moved = self._gru.frame(network.normalization(frames[:, 0]), hidden)
        self._states.hidden.put(rows, where(starting, hidden, moved))
        return torch.sigmoid(network.head(y))

    def _there(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)
