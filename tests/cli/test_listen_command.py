"""`streamtag listen` as a program: bare samples, containers, an address, a virtual microphone; how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.sync.client import connect

if TYPE_CHECKING:
    from tests.audio.virtual_microphone import VirtualMicrophone

Run = Callable[..., Any]
MakeSound = Callable[..., Path]
COMMAND = [sys.executable, "-m", "streamtag.cli"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
RATE = 16000


def noise(seconds: float, rate: int = RATE, channels: int = 1) -> NDArray[np.float32]:
    shape = (round(seconds * rate), channels)
    return (0.2 * np.random.default_rng(7).standard_normal(shape)).clip(-1, 1).astype(np.float32)


def listen(
    *arguments: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "listen", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, env=env or ENVIRONMENT, check=False)


def messages(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.decode().splitlines()]


def probs(found: list[dict[str, Any]]) -> NDArray[np.float64]:
    """[F, tags] of all frames."""
    return np.array([list(message["tags"].values()) for message in found if message["type"] == "frame"])


@pytest.mark.parametrize(("rate", "format", "channels"), [(16000, "f32le", 1), (44100, "s16le", 2), (8000, "f32le", 1)])
def test_bare_samples_give_the_frames_of_the_same_sound_in_a_file(
    streamtag: Run, model: Path, tmp_path: Path, rate: int, format: str, channels: int
) -> None:
    sound = noise(3.3, rate, channels)
    data = (sound * 32767).astype("<i2") if format == "s16le" else sound.astype("<f4")
    saved = tmp_path / "heard.wav"
    done = listen(
        *("--from", "-", "--rate", str(rate), "--format", format, "--channels", str(channels), "--json"),
        *("--save-audio", saved, "--model", model),
        stdin=data.tobytes(),
    )
    assert done.returncode == 0, done.stderr
    live = messages(done.stdout)
    assert [live[0]["type"], live[-1]["type"]] == ["hello", "end"]
    assert live[-1]["seconds"] == pytest.approx(3.3, abs=1e-3)
    offline = messages(streamtag("file", saved, "--json").out.encode())
    assert probs(live).shape == probs(offline).shape == (13, 50)
    np.testing.assert_allclose(probs(live), probs(offline), atol=2e-4)  # rounded to 4 decimals each
    other = messages(streamtag("file", examples_song(), "--json", "--top", "50").out.encode())
    assert np.abs(probs(live) - probs(other)[:13]).max() > 0.01  # the negative control: another sound


def examples_song() -> Path:
    return Path(__file__).resolve().parents[2] / "examples" / "evening_ride.mp3"


def test_a_container_on_standard_input_ends_when_it_ends(model: Path, make_sound: MakeSound) -> None:
    done = listen("--from", "-", "--json", "--model", model, stdin=make_sound("a.mp3", 4.0).read_bytes())
    found = messages(done.stdout)
    assert done.returncode == 0
    assert found[-1]["type"] == "end"
    assert found[-1]["stream"] == "stdin"
    assert found[-1]["seconds"] == pytest.approx(4.0, abs=0.1)


def test_lines_for_people_and_a_summary_where_there_is_no_terminal(model: Path) -> None:
    raw = ("--from", "-", "--rate", "16000", "--format", "f32le", "--name", "room 1", "--top", "2")
    done = listen(*raw, "--model", model, stdin=noise(3).tobytes())
    out = done.stdout.decode()
    assert done.returncode == 0
    assert "\x1b" not in out
    seconds = [line for line in out.splitlines() if line.startswith("0:0") and line.count(".") == 2]
    assert [line[:4] for line in seconds] == ["0:00", "0:01", "0:02"]
    assert "room 1  0:03  12 frames" in out
    assert done.stderr.decode().startswith("streamtag: listening to ")


def test_for_stops_it_and_record_keeps_what_was_told(model: Path, tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    raw = ("--from", "-", "--rate", "16000", "--format", "f32le", "--json")
    done = listen(*raw, "--for", "2.5", "--record", record, "--model", model, stdin=noise(60).tobytes())
    told = messages(done.stdout)
    assert done.returncode == 0
    assert told[-1]["seconds"] == 2.5
    kept = [json.loads(line) for line in record.read_text().splitlines()]
    assert [{k: v for k, v in message.items() if k != "at"} for message in kept] == told
    times = [message["at"] for message in kept]
    assert times == sorted(times)


def told_in_one_line(code: int, wanted: int, out: str, errors: str, words: str) -> None:
    assert (code, out) == (wanted, "")
    assert words in " ".join(errors.split())
    assert "Traceback" not in errors
    assert wanted == 2 or len(errors.splitlines()) <= 2  # what it listens to, and the error


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--from", "-", "--input", "x"], 2, "leave out --input"),
        (["--rate", "16000"], 2, "add --from -"),
        (["--from", "-", "--rate", "16000"], 2, "both --rate and --format"),
        (["--from", "-", "--channels", "2"], 2, "--channels goes with"),
        (["--for", "0"], 2, "above 0"),
        (["--max-clients", "3"], 2, "go with --serve"),
        (["--serve", "elsewhere"], 1, "not an address to serve"),
        (["--osc", "9000"], 1, "HOST:PORT"),
        (["--tags", "gitar", "--from", "-"], 1, "did you mean 'guitar'"),
        (["--from", "ftp://example.org/a.mp3"], 1, "only http"),
        (["--from", "-", "--record", "/nowhere/r.jsonl"], 1, "no folder"),
        (["--from", "http://127.0.0.1:9/radio"], 1, "cannot be reached"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(streamtag: Run, arguments: list[str], code: int, words: str) -> None:
    answer = streamtag("listen", *arguments)
    told_in_one_line(answer.code, code, answer.out, answer.err, words)


@pytest.mark.parametrize("more", [[], ["--rate", "16000", "--format", "s16le"]])
def test_standard_input_without_a_byte_is_told(model: Path, more: list[str]) -> None:
    done = listen("--from", "-", *more, "--model", model)
    told_in_one_line(done.returncode, 1, done.stdout.decode(), done.stderr.decode(), "standard input: is empty")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_the_summary(model: Path, number: int, code: int) -> None:
    raw = ["--from", "-", "--rate", "16000", "--format", "f32le", "--json", "--model", str(model)]
    process = subprocess.Popen(
        [*COMMAND, "listen", *raw],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    _pipe(process.stdin).write(noise(2).tobytes())
    _pipe(process.stdin).flush()
    lines = [_pipe(process.stdout).readline() for _ in range(4)]  # standard input stays open
    process.send_signal(number)
    process.wait(30)
    rest, errors = _pipe(process.stdout).read(), _pipe(process.stderr).read()
    for pipe in (process.stdin, process.stdout, process.stderr):
        _pipe(pipe).close()
    found = messages(b"".join(lines) + rest)
    assert process.returncode == code
    assert found[-1]["type"] == "end"
    assert found[-1]["frames"] == len(probs(found))
    assert b"Traceback" not in errors


def test_subscribers_get_what_is_printed(model: Path) -> None:
    raw = ["--from", "-", "--rate", "16000", "--format", "f32le", "--json", "--model", str(model)]
    process = subprocess.Popen(
        [*COMMAND, "listen", *raw, "--serve", "0", "--token", "secret"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    first = _pipe(process.stderr).readline().decode()
    assert first.startswith("streamtag: serving on http://127.0.0.1:")
    address = first.split()[-1].replace("http", "ws", 1)
    with connect(f"{address}streams/stdin?token=secret", compression=None) as subscriber:
        got = [json.loads(subscriber.recv(timeout=30))]
        _pipe(process.stdin).write(noise(3).tobytes())
        _pipe(process.stdin).close()
        got += [json.loads(line) for line in subscriber]  # until the server has told all and ends
    out = _pipe(process.stdout).read()
    errors = _pipe(process.stderr).read()
    for pipe in (process.stdout, process.stderr):
        _pipe(pipe).close()
    assert process.wait(30) == 0, errors
    assert got == messages(out)
    assert got[-1]["type"] == "end"


def test_an_input_that_is_not_there_is_named_with_those_that_are(
    virtual_microphone: VirtualMicrophone, model: Path
) -> None:
    done = listen("--input", "no such thing", "--model", model, env=_heard_by(virtual_microphone))
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("streamtag: input no such thing: ")
    assert "pulse" in line


def _heard_by(microphone: VirtualMicrophone) -> dict[str, str]:
    return {**microphone.env, "OMP_NUM_THREADS": "1"}
