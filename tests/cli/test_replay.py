"""`streamtag replay`: a recording is played with its own timing, however damaged it is."""

from __future__ import annotations

import json
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from streamtag.cli import main
from streamtag.cli.player import Player
from streamtag.protocol.messages import End, Frame, Hello, Message
from streamtag.protocol.reader import parse
from streamtag.sinks.recording import Recording
from tests.cli.conftest import StartProgram, pipe, read_rest
from tests.fake_clock import FakeClock

HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1))
OTHER = Hello("streamtag 0.1.0", "other", ("drums",), 16000, 0.256, 0.512, 0.384, (0.3,))
FRAMES = [Frame("mic", k, round(0.256 * k, 3), round(0.256 * k + 0.512, 3), {"guitar": 0.5}) for k in range(4)]


def _written(folder: Path, *messages: tuple[Message, float], tail: str = "") -> Path:
    path = folder / "r.jsonl"
    lines = [json.dumps({**message.to_dict(), "at": at}) + "\n" for message, at in messages]
    path.write_text("".join(lines) + tail, encoding="utf-8")
    return path


def run(path: Path, *options: str) -> int:
    return main(["replay", str(path), "--json", "--speed", "1000", *options])


def test_messages_come_when_they_are_due(tmp_path: Path) -> None:
    path = _written(tmp_path, (HELLO, 0.0), (FRAMES[0], 0.2), (FRAMES[1], 0.2), (FRAMES[2], 0.5), (FRAMES[3], 0.8))
    clock, came = FakeClock(), list[tuple[float, Message]]()
    began = clock.now
    with Recording(path) as recording:
        outputs = [lambda message: came.append((clock.now - began, message))]
        player = Player(recording, outputs, speed=2.0, clock=clock, sleep=clock.sleep)
        player.play(loop=False, should_continue=lambda: True)
    assert [message for _, message in came] == FRAMES
    assert [moment for moment, _ in came] == pytest.approx([0.1, 0.1, 0.25, 0.4])
    assert player.played == 4


def test_a_loop_begins_anew_and_ends_when_it_is_not_wanted(tmp_path: Path) -> None:
    clock, came = FakeClock(), list[Message]()
    began = clock.now
    with Recording(_written(tmp_path, (HELLO, 0.0), (FRAMES[0], 0.1), (FRAMES[1], 0.2))) as recording:
        player = Player(recording, [came.append], speed=50.0, clock=clock, sleep=clock.sleep)
        player.play(loop=True, should_continue=lambda: len(came) < 7)
    assert came == [*FRAMES[:2] * 3, FRAMES[0]]
    assert player.passes == 4
    # a pass lasts as long as the recording, and a hop
    assert clock.now - began == pytest.approx((3 * (0.2 + 0.256) + 0.1) / 50)


def test_lines_are_printed_as_they_were(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """But for the times at which they were recorded."""
    path = _written(tmp_path, (HELLO, 0.0), (FRAMES[0], 0.1), (End("mic", 1.5, 1, {"guitar": 0.5}), 0.2))
    assert run(path) == 0
    out, err = capfd.readouterr()
    assert re.sub(r',"at":[0-9.]+', "", path.read_text(encoding="utf-8").replace(", ", ",").replace(": ", ":")) == out
    assert err == f"streamtag: {path}: 2 messages played\n"


@pytest.mark.parametrize(
    ("second", "tail", "report"),
    [
        (HELLO, "", "2 messages played\n"),
        (HELLO, 'nonsense\n{"type":"frame","stream":"mi', "2 messages played, 1 damaged line skipped\n"),
        (OTHER, "", "2 messages played, 1 message of another model, with other tags than announced\n"),
    ],
)
def test_recordings_one_behind_the_other_are_played_and_problems_are_reported_at_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], second: Hello, tail: str, report: str
) -> None:
    path = _written(tmp_path, (HELLO, 0.0), (FRAMES[0], 0.1), (second, 0.0), (FRAMES[1], 0.1), tail=tail)
    assert run(path) == 0
    out, err = capfd.readouterr()
    assert [parse(line) for line in out.splitlines()] == [HELLO, *FRAMES[:2]]
    assert err.endswith(f": {report}")


def test_a_recording_of_nothing_is_not_played_for_ever(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = _written(tmp_path, (HELLO, 0.0))
    assert run(path, "--loop") == 1
    out, err = capfd.readouterr()
    assert err == f"streamtag: {path}: there is nothing to play after its hello\n"
    assert json.loads(out.splitlines()[-1])["type"] == "error"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_subscribers_get_it_and_a_signal_ends_it(program: StartProgram, tmp_path: Path) -> None:
    path = _written(tmp_path, (HELLO, 0.0), *((frame, 0.1 * frame.frame) for frame in FRAMES))
    process = program("replay", path, "--serve", "127.0.0.1:0", "--loop")
    line = pipe(process.stderr).readline()
    assert line.startswith("streamtag: serving on http://127.0.0.1:")
    with connect(line.split()[-1].replace("http", "ws"), open_timeout=20) as subscriber:
        hello = parse(subscriber.recv(10))
        assert isinstance(hello, Hello)
        assert replace(hello, streams=None) == HELLO
        got: list[Any] = [parse(subscriber.recv(10)) for _ in range(9)]
        numbers = [frame.frame for frame in got[1:]]  # the first is the latest one before it came
        process.send_signal(signal.SIGTERM)
        out, err = read_rest(process)
    assert numbers == [(numbers[0] + k) % 4 for k in range(8)]
    assert (process.returncode, out) == (143, "")
    assert "played until it was interrupted" in err
    assert subscriber.close_code == 1001
