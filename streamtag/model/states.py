"""What the network remembers of many streams, all of which stand between two hops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray

from streamtag.errors import SpecError
from streamtag.model.network import TaggerNetwork
from streamtag.model.scattering import ScatteringState
from streamtag.model.shared_memory import aligned
from streamtag.model.state_table import Allocate, Arrays, StateTable, leaves

SCATTERING, HIDDEN = "scattering.", "gru."  # whose part of a row an exported array is


class StreamStates:
    """A row for each stream, in one slab for the front end and one for the GRU. No row is for two threads at once."""

    def __init__(self, network: TaggerNetwork, rows: int, allocate: Allocate | None = None) -> None:
        """allocate: memory that other processes share; a row there must be reset before it is used. None: the
        network's device's own, all rows as before the first sample."""
        self._device = network.head.weight.device
        with torch.inference_mode():
            self.scattering = StateTable(_aligned(network), rows, allocate)
            self.hidden = StateTable(network.gru.initial_state(1), rows, allocate)

    @property
    def nbytes(self) -> int:
        """Bytes of a row."""
        return self.scattering.nbytes + self.hidden.nbytes

    @torch.inference_mode()
    def reset(self, rows: NDArray[Any]) -> None:
        """They begin anew."""
        where = torch.from_numpy(rows).to(self._device)
        self.scattering.reset(where)
        self.hidden.reset(where)

    @torch.inference_mode()
    def forget(self, rows: NDArray[Any]) -> None:
        """They go on, but the GRU knows nothing of what it heard."""
        self.hidden.reset(torch.from_numpy(rows).to(self._device))

    @torch.inference_mode()
    def export(self, row: int) -> dict[str, NDArray[Any]]:
        """All that a row remembers, by name."""
        parts = ((SCATTERING, self.scattering), (HIDDEN, self.hidden))
        return {prefix + name: array for prefix, slab in parts for name, array in slab.export(row).items()}

    @torch.inference_mode()
    def adopt(self, row: int, arrays: Arrays) -> None:
        """The row goes on where the exported one stood. Raises SpecError if it is not of this model's shapes."""
        if not all(name.startswith((SCATTERING, HIDDEN)) for name in arrays):
            raise SpecError("a stream's state has other parts than this model's")
        for prefix, slab in ((HIDDEN, self.hidden), (SCATTERING, self.scattering)):
            slab.adopt(row, {n.removeprefix(prefix): array for n, array in arrays.items() if n.startswith(prefix)})


def arena_bytes(network: TaggerNetwork, rows: int) -> int:
    """What HopStates takes of an arena."""
    parts = [*leaves(_aligned(network)).values(), *leaves(network.gru.initial_state(1)).values()]
    return sum(aligned(rows * leaf.nbytes) for leaf in parts)


def _aligned(network: TaggerNetwork) -> ScatteringState:
    """At a hop's end, where every stream's state has the same shape: the half hop before it is the caller's to send."""
    state = network.scattering.initial_state(1)
    return replace(state, recent=state.recent[:, -network.scattering.tail :].clone(), warm=True)
