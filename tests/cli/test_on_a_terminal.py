"""What goes where when a terminal is attached."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, ENVIRONMENT, MakeSound

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _on_a_terminal(*arguments: str | Path, results_too: bool) -> tuple[int, str, str]:
    """-> exit code, what the terminal got, and what standard output got if that was a pipe."""
    master, slave = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(master, 1 << 16):
                shown.append(part)
        except OSError:  # the last writer has gone
            pass

    environment = {name: value for name, value in ENVIRONMENT.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=slave if results_too else subprocess.PIPE,
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    reader = threading.Thread(target=read)
    reader.start()
    out, _ = process.communicate(timeout=120)
    reader.join(30)
    os.close(master)
    return process.returncode, b"".join(shown).decode(), (out or b"").decode()


@pytest.mark.slow
def test_progress_is_drawn_on_standard_error_and_the_table_goes_to_the_pipe(make_sound: MakeSound, model: Path) -> None:
    code, screen, out = _on_a_terminal("file", make_sound(seconds=2), "--realtime", "--model", model, results_too=False)
    assert code == 0
    assert "x real time" in screen
    assert "━" in screen
    assert out.startswith("song.wav  0:02  ")
    assert "\x1b" not in out
    assert "over time" not in screen


@pytest.mark.slow
def test_on_a_terminal_the_view_is_wiped_away_before_the_table(make_sound: MakeSound, model: Path) -> None:
    code, screen, _ = _on_a_terminal("file", make_sound(seconds=2), "--realtime", "--model", model, results_too=True)
    view, _, table = screen.rpartition("\x1b[2K")
    assert code == 0
    assert "x real time" in view
    assert "x real time" not in table
    assert "song.wav  0:02  " in ANSI.sub("", table)
