"""Several processes that train one model together, started by torchrun: one per GPU, on one machine or more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Group:
    """This process is number `rank` of `size`; number 0 writes the files."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def broadcast(self, value: Tensor) -> Tensor:
        """Return the value of process 0."""
        if self.size > 1:
            distributed.broadcast(value, src=0)
        return value

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def distributed_group(device: torch.device) -> Iterator[Group]:
    """Join the group that torchrun has started; without one, this process is alone.

    Whatever holds the group (a DistributedDataParallel) must be gone at the end of the block: only then do the group's
    threads end with it, and a thread that outlives the interpreter can abort the process.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Group()
        return
    import_module("torch.distributed.nn")  # loaded later, its functions would keep the group as a default argument
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
