"""Sounds made on the spot, and the command line in this process."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, AnyStr

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.cli import main
from streamtag.model.batched import torch_threads
from tests.catalog.conftest import RATE, Answer
from tests.cli.serve_process import Serve, Start, started
from tests.sounds import Encode
from tests.wav import write_wav

MakeSound = Callable[..., Path]


Run = Callable[..., Answer]
COMMAND = [sys.executable, "-m", "streamtag.cli"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


TIMEOUT_S = 120.0
StartProgram = Callable[..., subprocess.Popen[str]]


def pipe(stream: IO[AnyStr] | None) -> IO[AnyStr]:
    """Return a stream of a process that was started with a pipe for it."""
    assert stream is not None
    return stream


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def streamtag(model: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process, on the small model, and return its exit code and what it printed."""

    def run(*arguments: str | Path, small: bool = True, stdin: bytes | None = None) -> Answer:
        capfd.readouterr()
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        chosen = ["--model", str(model), "--device", "cpu"] if small else []
        code = main([*map(str, arguments), *chosen])
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return run


def song(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """[n] something with notes and noise in it, different every two seconds."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    sound = 0.02 * random.standard_normal(len(time))
    for start in np.arange(0, seconds, 2.0):
        part = (time >= start) & (time < start + 2)
        for pitch in random.uniform(80, 4000, 3):
            sound[part] += 0.2 * np.sin(2 * np.pi * pitch * time[part])
    return sound.astype(np.float32)


@pytest.fixture
def make_sound(tmp_path: Path, encode: Encode) -> MakeSound:
    """(name, seconds, seed) -> the file, a WAV or an MP3 by its suffix."""

    def make(name: str = "song.wav", seconds: float = 5.0, seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mp3":
            encode(path, song(seconds, seed), RATE, "libmp3lame")
            return path
        return write_wav(path, song(seconds, seed), RATE)

    return make


@pytest.fixture
def one() -> Iterator[None]:
    """As `listen` and its bench have it: two threads that wait for each other fall behind on a busy machine."""
    with torch_threads(1):
        yield


@pytest.fixture
def program() -> Iterator[StartProgram]:
    """program(*arguments) -> a process of the command line with three pipes, killed after the test or two minutes."""
    with ExitStack() as stack:

        def program(*arguments: str | Path, **others: Any) -> subprocess.Popen[str]:
            settings = {**dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE), "env": ENVIRONMENT, **others}
            process = subprocess.Popen([*COMMAND, *map(str, arguments)], text=True, **settings)
            watchdog = threading.Timer(TIMEOUT_S, process.kill)  # so that no test waits for a line for ever
            watchdog.start()

            def close() -> None:
                watchdog.cancel()
                process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream is not None:
                        with suppress(BrokenPipeError):  # of what was not sent
                            stream.close()

            stack.callback(close)
            return process

        yield program


def send(process: subprocess.Popen[str], data: bytes) -> None:
    stdin = pipe(process.stdin)
    stdin.buffer.write(data)  # type: ignore[attr-defined]
    stdin.flush()


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    return [pipe(process.stdout).readline().rstrip("\n") for _ in range(count)]


def read_rest(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for its end; return what no test has read of its output and errors. `communicate` would lose some of it."""
    rest = pipe(process.stdout).read(), pipe(process.stderr).read()
    process.wait(TIMEOUT_S)
    return rest


@pytest.fixture
def start(model: Path) -> Iterator[Start]:
    """start(*options) runs a `streamtag serve` with the small model until the test ends."""
    with started(model) as start:
        yield start


@pytest.fixture(scope="session")
def servers(model: Path) -> Iterator[tuple[Serve, Serve]]:
    """Two servers that tests share; each test uses other stream names."""
    with started(model) as start:
        yield start(), start()


@pytest.fixture
def server(servers: tuple[Serve, Serve]) -> Serve:
    return servers[0]
