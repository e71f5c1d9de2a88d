"""Every example says what it does, in 80 columns."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES

MODULES = {"evening_ride.py"}  # imported by make_song.py
PROGRAMS = [path for path in sorted(EXAMPLES.glob("*.py")) if path.name not in MODULES]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_help(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(EXAMPLES)  # as for a script
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(path), run_name="__main__")
    out, err = capsys.readouterr()
    assert (left.value.code or 0, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) >= 3
    assert max(map(len, lines)) <= 80
