"""A recorder that is killed at any moment leaves a sound file that lacks at most the last two seconds."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.history.conftest import HOP_S
from tests.history.writer_process import ON_FRAMES, PERIOD, STREAMS

MAY_BE_LOST_S = 2.0


def _kill_a_writer(path: Path, after_s: float) -> int:
    """Start a writer, kill it so long after its first frame, and return the last frame that must be stored."""
    command = [sys.executable, "-m", "tests.history.writer_process", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(process.stdout.read)
            time.sleep(after_s)
            killed_at = time.monotonic()
            process.send_signal(signal.SIGKILL)
            lines = [first, *rest.result().splitlines(keepends=True)]
        assert process.stderr is not None
        assert process.stderr.read() == ""
    published = [line.split() for line in lines if line.endswith("\n")]  # the kill may cut off the last one
    return max([int(number) for at, number in published if float(at) < killed_at - MAY_BE_LOST_S], default=-1)


def _check(path: Path, last_frame: int, kills: int) -> None:
    """Check the sessions of the last writer: every table is from the same moment, which is recent enough."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = "SELECT id, start_s, last_s, frames, has_ended FROM session ORDER BY id DESC LIMIT ?"
        sessions = connection.execute(query, (STREAMS,)).fetchall()
        if last_frame >= 0:
            assert connection.execute("SELECT count(*) FROM session").fetchone()[0] <= STREAMS * kills
            assert len(sessions) == STREAMS
        for session, start_s, last_s, frames, has_ended in sessions if last_frame >= 0 else ():
            assert (start_s, last_s, has_ended) == (0.0, round((frames - 1) * HOP_S, 3), 0)
            assert frames - 1 >= last_frame
            minutes = connection.execute("SELECT frames, means FROM minute WHERE session_id = ?", (session,)).fetchall()
            assert sum(count for count, _ in minutes) == frames
            assert {means for _, means in minutes} == {bytes([153, 0, 153, 0])}
            query = "SELECT on_s, off_s, peak, mean FROM heard WHERE session_id = ? ORDER BY on_s"
            presences = connection.execute(query, (session,)).fetchall()
            # the events of the newest frame may come a moment later than the frame
            for known in (frames, frames - 1):
                expected = [
                    (_time(on), _time(on + ON_FRAMES) if on + ON_FRAMES < known else None, 0.6, 0.6)
                    for on in range(0, known, PERIOD)
                ]
                if presences == expected:
                    break
            else:
                raise AssertionError(presences[-3:])


def _time(number: int) -> float:
    return round(number * HOP_S, 3)


def _kill_repeatedly(path: Path, times: list[float]) -> None:
    for kills, after_s in enumerate(times, 1):
        _check(path, _kill_a_writer(path, after_s), kills)


@pytest.mark.parametrize(("files", "kills"), [(5, 1), pytest.param(8, 6, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_costs_at_most_two_seconds(tmp_path: Path, files: int, kills: int) -> None:
    chance = random.Random(0)
    times = [[chance.uniform(2.2, 3.7) for _ in range(kills)] for _ in range(files)]
    with ThreadPoolExecutor(files) as pool:
        paths = [tmp_path / f"{number}.sqlite" for number in range(files)]
        list(pool.map(_kill_repeatedly, paths, times))
