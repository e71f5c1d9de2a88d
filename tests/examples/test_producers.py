"""The examples that send sound and move streams, beside real servers."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.commands.serve_process import END, Start, as_pcm, begin, read, rest, started, tones, until_frame

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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
