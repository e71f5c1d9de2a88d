"""A process that steps streams for another one: `python -m streamtag.inference.worker`, started by WorkerProcess."""

from __future__ import annotations

import json
import mmap
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import numpy as np

from streamtag.inference.shared_hops import SharedHopBuffer, SharedHopBufferSpec

if TYPE_CHECKING:
    from streamtag.model.batched import BatchedTagger

READY, DONE, FAILED = b"ready", b"done ", b"failed: "  # what it says; then its CPU time so far (s, CPU), or why
CPU = struct.Struct("<d")


def main(lanes: Sequence[Connection], memory: mmap.mmap) -> None:
    """Until the other side hangs up. It is told settings and the model, then again and again how many rows to step, by
    way of any lane."""
    from streamtag.model.batched import BatchedTagger
    from streamtag.model.model_file import deserialize
    from streamtag.model.states import SharedBufferAllocator  # late: torch

    settings = json.loads(lanes[0].recv_bytes())
    spec, precision = SharedHopBufferSpec(*settings["exchange"]), settings["precision"]
    network = deserialize(lanes[0].recv_bytes().decode(), lanes[0].recv_bytes())
    step = BatchedTagger(network, settings["rows"], precision, allocate=SharedBufferAllocator(memory).allocate)
    exchanges = [SharedHopBuffer(memory, offset, spec) for offset in settings["offsets"]]
    _rehearse(BatchedTagger(network, spec.most, precision), spec)
    lanes[0].send_bytes(READY)
    while True:
        ready = wait(lanes)
        for lane, exchange in zip(lanes, exchanges, strict=True):
            if lane in ready:
                count = int.from_bytes(lane.recv_bytes(), "little")
                lane.send_bytes(_answer(step, exchange, count))


def _answer(step: BatchedTagger, exchange: SharedHopBuffer, count: int) -> bytes:
    try:
        exchange.probs[:count] = step.step(exchange.audio[:count], exchange.rows[:count])
    except Exception as error:
        return FAILED + f"{type(error).__name__}: {error}".encode()
    return DONE + CPU.pack(time.process_time())


def _rehearse(step: BatchedTagger, spec: SharedHopBufferSpec) -> None:
    """Steps of 1, 2, 4 ... streams: the first of each size takes longer."""
    sizes = [*(1 << n for n in range(spec.most.bit_length()) if 1 << n < spec.most), spec.most]
    for size in sizes:
        step.step(np.zeros((size, spec.hop), np.float32), np.arange(size))


if __name__ == "__main__":
    with suppress(EOFError, ConnectionError):  # nobody wants it any more
        main([Connection(int(fd)) for fd in sys.argv[2:]], mmap.mmap(int(sys.argv[1]), 0))
