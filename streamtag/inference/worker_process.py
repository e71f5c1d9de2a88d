"""A process that steps streams, as seen by the one that started it."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import DeviceError
from streamtag.inference.shared_hops import SharedHopBuffer, SharedHopBufferSpec
from streamtag.inference.worker import CPU, DONE, FAILED, READY

START_S = 120.0  # to load everything, on a machine that has other things to do
STEP_S = 60.0  # a step that takes longer does not come back
END_S = 5.0


class WorkerProcess:
    """One thread at a time may use each of its lanes. Rows and exchanges lie in memory that both processes have.

    It ends by itself when this process ends, however that happens; an interrupt from the terminal does not reach it.
    """

    def __init__(self, memory: mmap.mmap, shared: int, offsets: Sequence[int], exchange: SharedHopBufferSpec) -> None:
        """shared: the file descriptor of the memory; offsets: where in it the exchange of each lane begins."""
        self.cpu_s = 0.0  # its CPU time so far, as it told last
        self._offsets, self._spec = offsets, exchange
        self._exchanges = [SharedHopBuffer(memory, offset, exchange) for offset in offsets]
        pipes = [Pipe() for _ in offsets]
        self._connections = [ours for ours, _ in pipes]
        fds = [theirs.fileno() for _, theirs in pipes]
        alone = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # more processes are better than threads
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamtag.inference.worker", str(shared), *map(str, fds)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=alone,
                pass_fds=(*fds, shared),
                process_group=0,
            )
        finally:
            for _, theirs in pipes:
                theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def prepare(self, rows: int, precision: str, model: tuple[str, bytes]) -> None:
        """Tells it what it works with: how many rows there are, and the model as `pack` gives it."""
        settings = {"rows": rows, "precision": precision, "offsets": [*self._offsets]}
        exchange = (self._spec.most, self._spec.hop, self._spec.tags)
        with suppress(OSError):  # it is gone: the next answer does not come
            self._connections[0].send_bytes(json.dumps({**settings, "exchange": exchange}).encode())
            self._connections[0].send_bytes(model[0].encode())
            self._connections[0].send_bytes(model[1])

    def wait_until_ready(self) -> None:
        """Raises DeviceError if it does not start."""
        if self._answer(0, START_S) != READY:
            raise DeviceError("a worker process did not start")

    def step(self, lane: int, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """As BatchedTagger.step, of `most` rows at most. Raises DeviceError if it fails; see `alive`."""
        count, exchange = len(rows), self._exchanges[lane]
        exchange.rows[:count] = rows
        exchange.audio[:count] = audio
        with suppress(OSError):  # it is gone: the answer does not come
            self._connections[lane].send_bytes(count.to_bytes(4, "little"))
        answer = self._answer(lane, STEP_S)
        if not answer.startswith(DONE):
            why = answer.removeprefix(FAILED).decode(errors="replace") if answer else "it has ended"
            raise DeviceError(f"a worker process failed: {why}")
        (self.cpu_s,) = CPU.unpack(answer.removeprefix(DONE))
        return exchange.probs[:count].copy()

    @property
    def alive(self) -> bool:
        return not self._connections[0].closed and self._process.poll() is None

    def close(self) -> None:
        """Ends it."""
        for connection in self._connections:
            connection.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self, lane: int, timeout_s: float) -> bytes:
        """Nothing if none comes; then it is ended."""
        with suppress(EOFError, OSError):
            if self._connections[lane].poll(timeout_s):
                return self._connections[lane].recv_bytes()
        self._process.kill()
        self._process.wait()
        return b""
