"""A `streamtag serve` as a process of its own, and what its producers and subscribers do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_client

from streamtag.api import Tagger
from streamtag.inference.session import Session
from streamtag.protocol.messages import Frame, Hello, Message, Ready
from tests.server.support import read

WAIT_S = 30.0
END = '{"type":"end"}'
CLOSE = 2e-4  # of two probabilities: the batch's own arithmetic, and rounding to four decimals


class Serve:
    """A running server. address: ws://HOST:PORT."""

    def __init__(
        self, process: subprocess.Popen[str], address: str, stderr_lines: list[str], resources: ExitStack
    ) -> None:
        self.process, self.address, self.stderr_lines, self._resources = process, address, stderr_lines, resources

    def connect(self, path: str) -> ClientConnection:
        """Connect; try again when a busy machine makes the server miss a deadline."""
        until = time.monotonic() + WAIT_S
        while True:
            try:
                client: ClientConnection = connect_client(
                    self.address + path, compression=None, proxy=None, max_queue=None
                )
            except InvalidStatus as refused:
                if b"done in time" not in refused.response.body or time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return self._resources.enter_context(client)

    def get(self, path: str) -> bytes:
        with urlopen(self.address.replace("ws", "http", 1) + path, timeout=WAIT_S) as answer:
            body: bytes = answer.read()
            return body

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, "".join(self.stderr_lines) + err


Start = Callable[..., Serve]


@contextmanager
def started(model: Path) -> Iterator[Start]:
    """start(*options) -> a server on a free port; all are stopped at the end."""
    with ExitStack() as resources:

        def start(*options: str) -> Serve:
            command = [sys.executable, "-m", "streamtag.cli", "serve", "0", "--model", str(model), "--device", "cpu"]
            process = resources.enter_context(
                subprocess.Popen(
                    [*command, "--max-streams", "8", *options],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            )
            resources.callback(process.kill)
            assert process.stderr is not None
            stderr_lines: list[str] = []
            while not (stderr_lines and "room for" in stderr_lines[-1]):
                stderr_lines.append(process.stderr.readline())
                assert stderr_lines[-1], "".join(stderr_lines)
            (port,) = re.findall(r"serving on http://127\.0\.0\.1:(\d+)/", stderr_lines[0])
            return Serve(process, f"ws://127.0.0.1:{port}", stderr_lines, resources)

        yield start


def tones(seconds: float, rate: int = 16000, seed: int = 0) -> NDArray[np.float64]:
    """Tones that come and go over noise: [n] in [-1, 1]."""
    rng, t = np.random.default_rng(seed), np.arange(int(seconds * rate)) / rate
    pitch = 110 * 2 ** (rng.integers(0, 36, int(seconds) + 1) / 12)
    tones = np.sin(2 * np.pi * pitch[t.astype(int)] * t) * np.exp(-3 * (t % 1))
    return np.asarray(0.4 * tones + 0.02 * rng.standard_normal(len(t)))


def as_pcm(sound: NDArray[np.float64]) -> bytes:
    return np.round(sound * 32767).astype("<i2").tobytes()


def pcm_samples(pcm: bytes) -> NDArray[np.float32]:
    return np.frombuffer(pcm, "<i2") * np.float32(1 / 32768)


def begin(client: ClientConnection) -> int:
    """Read hello and ready, and return the position to continue from."""
    hello, ready = read(client), read(client)
    assert isinstance(hello, Hello)
    assert isinstance(ready, Ready)
    return ready.position


def until_frame(client: ClientConnection, number: int) -> list[Message]:
    """All messages up to the frame of this number."""
    messages: list[Message] = []
    while not (messages and isinstance(messages[-1], Frame) and messages[-1].frame == number):
        messages.append(read(client))
    return messages


def push(client: ClientConnection, pcm: bytes, sizes: Sequence[int] = (3201, 7, 12_800)) -> None:
    """Send in messages of these sizes, repeatedly, which cut samples in two."""
    start = turn = 0
    while start < len(pcm):
        size = sizes[turn % len(sizes)]
        client.send(pcm[start : start + size])
        start, turn = start + size, turn + 1


def frames_of(messages: Sequence[Message]) -> list[Frame]:
    return [message for message in messages if isinstance(message, Frame)]


def numbers_of(messages: Sequence[Message]) -> list[int]:
    return [frame.frame for frame in frames_of(messages)]


def probs_of(messages: Sequence[Message]) -> NDArray[np.float64]:
    return np.array([list(frame.tags.values()) for frame in frames_of(messages)])


def session_probs(tagger: Tagger, audio: NDArray[np.float32]) -> NDArray[np.float64]:
    session = Session(tagger)
    return np.array([frame.probs for frame in [*session.feed(audio), *session.flush()]], np.float64)
