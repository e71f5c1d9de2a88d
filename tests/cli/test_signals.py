"""Ctrl-C, SIGTERM and closed pipes end the program cleanly, with the results so far."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from streamtag.cli.runtime import SignalGuard
from tests.cli.conftest import MakeSound, StartProgram, pipe, read_lines, read_rest, rows, send

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.mark.slow
def test_a_signal_ends_the_stream_with_its_summary(
    program: StartProgram, make_sound: MakeSound, model: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    path = make_sound(seconds=60)
    process = program("file", path, path, "--json", "--realtime", "--csv", table, "--model", model)
    lines = read_lines(process, 4)  # hello, and three frames or events
    process.send_signal(signal.SIGTERM)
    out, err = read_rest(process)
    messages = [json.loads(line) for line in [*lines, *out.splitlines()]]
    assert process.returncode == 143
    assert messages[-1]["type"] == "end"
    frames = [message for message in messages if message["type"] == "frame"]
    assert messages[-1]["frames"] == len(frames) < 200
    interrupted, wrote = err.splitlines()
    assert interrupted == "streamtag: interrupted in song.wav: these are the results so far"
    assert wrote == f"streamtag: wrote {table}"
    assert len(rows(table)) == len(frames)


@pytest.mark.slow
def test_a_source_that_stalls_can_be_interrupted(program: StartProgram, make_sound: MakeSound, model: Path) -> None:
    process = program("file", "-", "--json", "--model", model)
    send(process, make_sound(seconds=10).read_bytes()[:160_000])
    first = [json.loads(pipe(process.stdout).readline()) for _ in range(2)]
    assert [message["type"] for message in first] == ["hello", "frame"]
    process.send_signal(signal.SIGINT)
    process.wait(30)  # although standard input is still open
    out, err = pipe(process.stdout).read(), pipe(process.stderr).read()
    assert process.returncode == 130
    assert err == "streamtag: interrupted in stdin: these are the results so far\n"
    assert json.loads(out.splitlines()[-1])["type"] == "end"


@pytest.mark.slow
def test_a_closed_pipe_ends_the_program_quietly(
    program: StartProgram, make_sound: MakeSound, model: Path, tmp_path: Path
) -> None:
    paths = [make_sound("a.wav", 5), make_sound("b.wav", 60), make_sound("c.wav", 5)]
    table = tmp_path / "t.csv"
    process = program("file", *paths, "--json", "--csv", table, "--model", model)
    assert all(pipe(process.stdout).readline() for _ in range(8))
    pipe(process.stdout).close()
    err = pipe(process.stderr).read()
    code = process.wait(60)
    assert (code, err) == (141, f"streamtag: wrote {table}\n")
    streams = {row["stream"] for row in rows(table)}
    assert "a.wav" in streams
    assert "c.wav" not in streams


def test_the_first_signal_is_noted_and_the_second_interrupts() -> None:
    now = [100.0]
    with SignalGuard(lambda: now[0]) as guard:
        assert not guard.stop_requested
        assert guard.exit_code == 0
        signal.raise_signal(signal.SIGTERM)
        assert guard.stop_requested
        now[0] += 0.1
        signal.raise_signal(signal.SIGTERM)  # the same request: `timeout` sends it to the program and to its group
        now[0] += 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert guard.exit_code == 143
    with pytest.raises(KeyboardInterrupt):  # Python's own handler is back
        signal.raise_signal(signal.SIGINT)


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with SignalGuard() as guard:
            signal.raise_signal(signal.SIGINT)
        assert not guard.stop_requested
    finally:
        signal.signal(signal.SIGINT, before)
