"""A process that steps streams for another one: `python -m streamtag.inference.worker`, started by WorkerProcess.

Both processes map the same memory: the states of all streams, one SharedHopBuffer per channel, and the model. A channel
is a pipe with its buffer. The parent fills the buffer and sends the number of rows; the worker answers DONE or FAILED.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamtag.errors import DeviceError

if TYPE_CHECKING:
    from streamtag.model.batched import BatchedTagger

STEP_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 5.0
READY, DONE, FAILED = b"ready ", b"done ", b"failed: "  # answers; CPU_TIME follows the first two, the error the last
CPU_TIME = struct.Struct("<d")  # of the process so far, in seconds


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of a worker process, which its command line holds as JSON.

    memory: file descriptor; channel_offsets: of the channels' buffers, in bytes; description, weights: first byte and
    end of the serialised model; max_batch: rows that one step can have; hop: samples.
    """

    memory: int
    channel_offsets: tuple[int, ...]
    description: tuple[int, int]
    weights: tuple[int, int]
    rows: int
    precision: str
    max_batch: int
    hop: int
    tags: int

    @property
    def channel_bytes(self) -> int:
        """Size of a channel's buffer."""
        return self.max_batch * (8 + 4 * self.hop + 4 * self.tags)


class SharedHopBuffer:
    """Views of a channel's memory: rows [max_batch] and audio [max_batch, hop] in, probs [max_batch, tags] out."""

    def __init__(self, memory: mmap.mmap, offset: int, settings: WorkerSettings) -> None:
        """offset: in bytes, a multiple of 8."""
        batch, hop, tags = settings.max_batch, settings.hop, settings.tags
        self.rows: NDArray[np.int64] = np.frombuffer(memory, np.int64, batch, offset)
        offset += self.rows.nbytes
        audio: NDArray[np.float32] = np.frombuffer(memory, np.float32, batch * hop, offset)
        probs: NDArray[np.float32] = np.frombuffer(memory, np.float32, batch * tags, offset + audio.nbytes)
        self.audio, self.probs = audio.reshape(batch, hop), probs.reshape(batch, tags)


class WorkerProcess:
    """The parent's side of a worker process. At most one thread at a time may use each channel.

    The worker ends by itself when the parent ends, however that happens. Ctrl-C in the terminal does not reach it.
    """

    def __init__(self, memory: mmap.mmap, settings: WorkerSettings) -> None:
        """Start it; `wait_until_ready` must follow. Raises OSError if the system starts no process."""
        self.cpu_s = 0.0  # the worker's CPU time so far, as of its last answer
        self._buffers = [SharedHopBuffer(memory, offset, settings) for offset in settings.channel_offsets]
        pipes = [Pipe() for _ in self._buffers]
        self._connections = [parent_end for parent_end, _ in pipes]
        fds = [worker_end.fileno() for _, worker_end in pipes]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # processes scale better
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamtag.inference.worker", json.dumps(asdict(settings)), *map(str, fds)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=one_thread,
                pass_fds=(*fds, settings.memory),
                process_group=0,
            )
        finally:
            for _, worker_end in pipes:
                worker_end.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self, timeout_s: float) -> None:
        """Raise DeviceError if it does not start within the timeout; it is killed then."""
        answer = self._answer(0, timeout_s)
        if not answer.startswith(READY):
            raise DeviceError("a worker process did not start")
        (self.cpu_s,) = CPU_TIME.unpack(answer.removeprefix(READY))

    def step(self, channel: int, audio: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what BatchedTagger.step does, for up to max_batch rows. Raises DeviceError; see `is_alive` then."""
        count, buffer = len(rows), self._buffers[channel]
        buffer.rows[:count] = rows
        buffer.audio[:count] = audio
        with suppress(OSError):  # the process has ended, so no answer comes
            self._connections[channel].send_bytes(count.to_bytes(4, "little"))
        answer = self._answer(channel, STEP_TIMEOUT_S)
        if not answer.startswith(DONE):
            reason = answer.removeprefix(FAILED).decode(errors="replace") if answer else "it has ended"
            raise DeviceError(f"a worker process failed: {reason}")
        (self.cpu_s,) = CPU_TIME.unpack(answer.removeprefix(DONE))
        return buffer.probs[:count].copy()

    def kill(self) -> None:
        """End it at once; may be called while another thread waits for an answer."""
        self._process.kill()

    def hang_up(self) -> None:
        """Have it end; `close` must follow."""
        for connection in self._connections:
            connection.close()

    def close(self) -> None:
        """Hang up and wait until it has ended."""
        self.hang_up()
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self, channel: int, timeout_s: float) -> bytes:
        """Return the next answer; if none comes, kill the process and return b""."""
        with suppress(EOFError, OSError):
            if self._connections[channel].poll(timeout_s):
                return self._connections[channel].recv_bytes()
        self._process.kill()
        self._process.wait()
        return b""


def available() -> bool:
    """Return whether this system can share memory between processes in the way that is needed."""
    return hasattr(os, "memfd_create")


def main(settings: WorkerSettings, channels: list[Connection]) -> None:
    """Answer steps from any channel until the parent hangs up, which raises EOFError or ConnectionError."""
    from streamtag.model.batched import BatchedTagger
    from streamtag.model.model_file import deserialize
    from streamtag.model.states import SharedBufferAllocator, StreamStates  # late: torch

    memory = mmap.mmap(settings.memory, 0)
    network = deserialize(memory[slice(*settings.description)].decode(), memory[slice(*settings.weights)])
    warmed_up = BatchedTagger(network, settings.max_batch, settings.precision)
    for size in [*(1 << n for n in range((settings.max_batch - 1).bit_length())), settings.max_batch]:
        warmed_up.step(np.zeros((size, settings.hop), np.float32), np.arange(size))  # the first of a size is slow
    del warmed_up
    states = StreamStates(network, settings.rows, SharedBufferAllocator(memory).allocate)
    tagger = BatchedTagger(network, settings.rows, settings.precision, states=states)
    buffers = [SharedHopBuffer(memory, offset, settings) for offset in settings.channel_offsets]
    channels[0].send_bytes(READY + CPU_TIME.pack(time.process_time()))
    while True:
        ready = wait(channels)
        for channel, buffer in zip(channels, buffers, strict=True):
            if channel in ready:
                channel.send_bytes(_step(tagger, buffer, int.from_bytes(channel.recv_bytes(), "little")))


def _step(tagger: BatchedTagger, buffer: SharedHopBuffer, count: int) -> bytes:
    try:
        buffer.probs[:count] = tagger.step(buffer.audio[:count], buffer.rows[:count])
    except Exception as error:
        return FAILED + f"{type(error).__name__}: {error}".encode()
    return DONE + CPU_TIME.pack(time.process_time())


if __name__ == "__main__":
    with suppress(EOFError, ConnectionError):  # the parent has hung up
        main(WorkerSettings(**json.loads(sys.argv[1])), [Connection(int(fd)) for fd in sys.argv[2:]])
