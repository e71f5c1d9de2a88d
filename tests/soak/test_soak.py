"""An hour of sound through the live path in about a minute: nothing grows, nothing is lost but what was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOAK = Path(__file__).with_name("soak.py")
HOUR_S = 3600.0
LOSSES = 11  # in every run, of 1.5 s each
ALLOWED_MIB = 15.0  # an hour: what the allocator keeps; 2 to 4 on an idle machine


def soak(model: Path, seconds: float, *more: str) -> dict[str, Any]:
    """In a process of its own, whose memory nothing else has used."""
    command = [sys.executable, str(SOAK), str(model), str(seconds), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=500, env=environment)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_an_hour_passes_and_nothing_grows_and_nothing_is_lost_but_what_was(model: Path) -> None:
    figures = soak(model, HOUR_S)
    assert figures["problems"] == []
    assert figures["speed"] >= 30, figures
    assert figures["visits"] > 100, figures
    assert figures["frames"] > 50 * figures["visits"], figures
    assert figures["gaps_told"] > LOSSES, figures  # each is told to all that are there
    assert (figures["gaps"], figures["xruns"]) == (LOSSES, LOSSES)
    assert figures["lost_s"] == pytest.approx(1.5 * LOSSES, abs=0.05)
    assert figures["elapsed_s"] == pytest.approx(HOUR_S, abs=2.0)
    assert figures["mib_an_hour"] < ALLOWED_MIB, figures


def test_a_leak_would_be_seen(model: Path) -> None:
    figures = soak(model, HOUR_S / 6, "leak")
    assert figures["mib_an_hour"] > 4 * ALLOWED_MIB, figures  # 12.8 kB a frame: 180 MB an hour
