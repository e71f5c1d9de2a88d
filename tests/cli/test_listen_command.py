"""`streamtag listen` as a program: raw PCM, containers, options; how it ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import connect

from tests.cli.conftest import TIMEOUT_S, MakeSound, Run, StartProgram, pipe, read_lines, send

RATE = 16000
RAW = ("--rate", "16000", "--format", "f32le")
pytestmark = pytest.mark.usefixtures("one")


def noise(seconds: float, rate: int = RATE, channels: int = 1) -> NDArray[np.float32]:
    shape = (round(seconds * rate), channels)
    return (0.2 * np.random.default_rng(7).standard_normal(shape)).clip(-1, 1).astype(np.float32)


@pytest.fixture
def listen(streamtag: Run) -> Run:
    """listen(*options, stdin=b"...") runs `streamtag listen --from -` in this process."""
    return lambda *options, stdin=b"": streamtag("listen", "--from", "-", *options, stdin=stdin)


def messages(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def probs(found: list[dict[str, Any]]) -> NDArray[np.float64]:
    return np.array([list(message["tags"].values()) for message in found if message["type"] == "frame"])


@pytest.mark.parametrize(("rate", "format", "channels"), [(16000, "f32le", 1), (44100, "s16le", 2)])
def test_raw_pcm_gives_the_frames_of_the_same_sound_in_a_file(
    streamtag: Run, listen: Run, tmp_path: Path, rate: int, format: str, channels: int
) -> None:
    sound = noise(3.3, rate, channels)
    data = (sound * 32767).astype("<i2") if format == "s16le" else sound.astype("<f4")
    saved = tmp_path / "saved.wav"
    options = ["--rate", str(rate), "--format", format, "--channels", str(channels), "--json", "--save-audio", saved]
    answer = listen(*options, stdin=data.tobytes())
    assert answer.code == 0, answer.err
    live = messages(answer.out)
    assert [live[0]["type"], live[-1]["type"]] == ["hello", "end"]
    assert live[-1]["seconds"] == pytest.approx(3.3, abs=1e-3)
    offline = messages(streamtag("file", saved, "--json").out)
    assert probs(live).shape == probs(offline).shape == (13, 50)
    np.testing.assert_allclose(probs(live), probs(offline), atol=2e-4)  # rounded to 4 decimals each


def test_a_container_on_standard_input_ends_the_stream_with_it(listen: Run, make_sound: MakeSound) -> None:
    answer = listen("--json", stdin=make_sound("a.mp3", 4.0).read_bytes())
    end = messages(answer.out)[-1]
    assert (answer.code, end["type"], end["stream"]) == (0, "end", "stdin")
    assert end["seconds"] == pytest.approx(4.0, abs=0.1)


def test_a_pipe_gets_lines_and_a_summary(listen: Run) -> None:
    answer = listen(*RAW, "--name", "room 1", "--top", "2", stdin=noise(3).tobytes())
    assert answer.code == 0
    assert "\x1b" not in answer.out
    seconds = [line for line in answer.lines if line.startswith("0:0") and line.count(".") == 2]
    assert [line[:4] for line in seconds] == ["0:00", "0:01", "0:02"]
    assert "room 1  0:03  tag " in answer.out
    assert answer.err.startswith("streamtag: listening to ")


def test_for_limits_the_stream_and_record_keeps_its_messages(listen: Run, tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    answer = listen(*RAW, "--json", "--for", "2.5", "--record", record, stdin=noise(60).tobytes())
    printed = messages(answer.out)
    assert answer.code == 0
    assert printed[-1]["seconds"] == 2.5
    kept = messages(record.read_text())
    assert [{key: value for key, value in message.items() if key != "at"} for message in kept] == printed
    times = [message["at"] for message in kept]
    assert times == sorted(times)


def test_a_signal_ends_the_stream_with_its_summary(program: StartProgram, model: Path) -> None:
    process = program("listen", "--from", "-", *RAW, "--json", "--model", model)
    send(process, noise(2).tobytes())
    lines = read_lines(process, 4)  # standard input stays open
    process.send_signal(signal.SIGTERM)
    printed = messages("\n".join([*lines, pipe(process.stdout).read()]))
    errors = pipe(process.stderr).read()
    assert process.wait(TIMEOUT_S) == 143
    assert printed[-1]["type"] == "end"
    assert printed[-1]["frames"] == len(probs(printed))
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_paused_reader_of_standard_output_stops_neither_inference_nor_subscribers(
    program: StartProgram, model: Path
) -> None:
    process = program("listen", "--from", "-", *RAW, "--json", "--model", model, "--serve", "0", "--token", "secret")
    address = pipe(process.stderr).readline().split()[-1].replace("http", "ws", 1)
    with connect(f"{address}streams/stdin?token=secret", compression=None, max_queue=None) as subscriber:
        send(process, noise(40).tobytes())  # much more output than a pipe holds
        pipe(process.stdin).close()
        received: list[dict[str, Any]] = []
        while not received or received[-1]["type"] != "end":
            received.append(json.loads(subscriber.recv(timeout=TIMEOUT_S)))
    printed = messages(pipe(process.stdout).read())
    assert process.wait(TIMEOUT_S) == 0
    assert received[-1]["frames"] == 157
    assert not [message for message in received if message["type"] == "gap"]
    del received[0]["streams"]  # of the server
    assert received == printed  # the same messages
