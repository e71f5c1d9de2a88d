"""The examples that send sound and move streams, beside real servers."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.cli.serve_process import END, WAIT_S, Start, as_pcm, begin, read, rest, started, tones, until_frame

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """A minute of it: longer than anything here lasts."""
    path = tmp_path / "a long song.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(as_pcm(tones(60)))
    return path


@pytest.fixture
def start(model: Path) -> Iterator[Start]:
    """start(*options) -> a `streamtag serve` with the small model."""
    with started(model) as start:
        yield start


def _run(example: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / example), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_producer_sends_a_file_and_prints_its_tags(start: Start, tmp_path: Path) -> None:
    song = tmp_path / "a song.wav"
    with wave.open(str(song), "wb") as file:
        file.setparams((1, 2, 44100, 0, "NONE", ""))
        file.writeframes(as_pcm(tones(3, 44100)))
    server = start()
    watcher = server.connect("/streams/a%20song.wav?top=3")
    done = _run("producer.py", song, f"{server.address}/ingest/a%20song.wav")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["frame"] * 12 + ["end"]
    assert re.fullmatch(r"frame  +0\.26 s  .+ \d+%  .+ \d+%  .+ \d+%", lines[0])
    assert lines[-1].startswith("end       3.00 s  ")
    assert read(watcher).type == "hello"
    refused = _run("producer.py", song, f"{server.address}/ingest/a%2Fb")
    assert refused.returncode == 1
    assert refused.stderr.startswith("a stream's name is made of characters")


@contextmanager
def _sending(song: Path, address: str) -> Iterator[subprocess.Popen[str]]:
    """The producer, once its first tags have come back."""
    command = [sys.executable, str(EXAMPLES / "producer.py"), str(song), address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("frame     0.26 s  ")
            yield process
        finally:
            process.kill()


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """-> exit code, and what it said to people."""
    assert process.stderr is not None
    err = process.stderr.read()
    return process.wait(WAIT_S), err


def test_a_producer_whose_output_nobody_reads_says_so(start: Start, song: Path) -> None:
    with _sending(song, f"{start().address}/ingest/a") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert _end(process) == (1, "nobody reads standard output any more\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_producer_whose_server_goes_away_says_so(start: Start, song: Path, number: int) -> None:
    server = start()
    address = f"{server.address}/ingest/a"
    with _sending(song, address) as process:
        server.stop(number)
        code, err = _end(process)
        assert (code, err.count("\n")) == (1, 1)
        assert re.fullmatch(f"{re.escape(address)}: the (server is gone|server ends|stream has ended)\n", err)


def test_a_producer_that_is_interrupted_ends_quietly(start: Start, song: Path) -> None:
    with _sending(song, f"{start().address}/ingest/a") as process:
        process.send_signal(signal.SIGINT)
        assert _end(process) == (130, "")


@pytest.mark.parametrize(
    ("example", "arguments", "said"),
    [
        ("producer.py", [], "usage: producer.py"),
        ("producer.py", ["no.mp3"], "no.mp3: No such file or directory"),
        ("producer.py", [__file__], f"{__file__}: Invalid data"),
        ("producer.py", ["SONG", "ws://127.0.0.1:9/ingest/a"], "ws://127.0.0.1:9/ingest/a: Connection refused"),
        ("producer.py", ["SONG", "here"], "here: "),
        ("subscriber.py", ["ws://127.0.0.1:9/"], "ws://127.0.0.1:9/: Connection refused"),
        ("move_a_stream.py", ["mic"], "usage: move_a_stream.py"),
        ("move_a_stream.py", ["mic", "http://127.0.0.1:9", "http://127.0.0.1:9"], "http://127.0.0.1:9: "),
        ("move_a_stream.py", ["mic", "here", "there"], "here: "),
    ],
)
def test_a_mistake_is_told_in_one_line(example: str, arguments: list[str], said: str, song: Path) -> None:
    done = _run(example, *(song if argument == "SONG" else argument for argument in arguments))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_stream_is_moved_and_goes_on_from_the_position_that_is_told(start: Start) -> None:
    first, second = start(), start()
    pcm = as_pcm(tones(6))
    producer = first.connect("/ingest/mic")
    begin(producer)
    producer.send(pcm[: 2 * 48_000])
    until_frame(producer, 10)
    places = [server.address.replace("ws", "http", 1) for server in (first, second)]
    done = _run("move_a_stream.py", "mic", *places)
    assert done.stderr == ""
    moved = re.fullmatch(r"mic: \d+ KiB moved; it goes on at (ws://\S+)\?position=(\d+)\n", done.stdout)
    assert moved is not None
    assert moved[1] == f"{second.address}/ingest/mic"
    position = int(moved[2])
    goes_on = second.connect(f"/ingest/mic?position={position}")
    assert begin(goes_on) == position
    goes_on.send(pcm[2 * position :])
    goes_on.send(END)
    frames = [message for message in rest(goes_on) if message.type == "frame"]
    numbers = np.array([message.to_dict()["frame"] for message in frames])
    assert numbers.tolist() == list(range(11, 24))
    again = _run("move_a_stream.py", "nobody", *places)
    assert (again.returncode, again.stderr) == (1, "nobody: there is no stream of that name\n")
