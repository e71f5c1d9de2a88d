"""Every example says what it does, in 80 columns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = {"evening_ride.py"}  # imported by make_song.py
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
PROGRAMS = [path for path in EXAMPLES if path.name not in MODULES]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_help(path: Path) -> None:
    command = [sys.executable, str(path), "--help"]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) >= 3
    assert max(map(len, lines)) <= 80
