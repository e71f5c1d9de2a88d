"""Producers come, go, stall, come back and misbehave: nothing grows, and no stream is lost, repeated or mixed up.

STREAMTAG_CHURN_S: for how long, at 80 % of what the machine holds; without it, a short time and few streams.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("STREAMTAG_CHURN_S", "0"))
SHORT_S, FEW = 20.0, 40  # where other tests want the machine, too
CONTROL_S, FEWER = 9.0, 24
ALLOWED_MIB = 15.0  # an hour, of a long run
ALLOWED_SHORT_MIB = 30.0  # from two fifths of a short run to its end: batches still grow, and their memory with them
LEAK_MIB = 60.0  # that the control's leak adds in less time, at least


def churn(model: Path, seconds: float, most: int, faults: str = "") -> dict[str, Any]:
    """In a process of its own, as the server is."""
    command = [sys.executable, "-m", "tests.soak.churn", str(model), str(seconds), "0.8", str(most), faults]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=seconds + 240, env=environment, cwd=ROOT)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def grown(figures: dict[str, Any]) -> float:
    """MiB in the part of the run that is looked at."""
    return float(figures["mib_an_hour"] * 0.6 * figures["seconds"] / 3600)


def test_through_all_the_churn_every_stream_gets_its_own_frames_and_nothing_grows(model: Path) -> None:
    figures = churn(model, SECONDS or SHORT_S, 0 if SECONDS else FEW)
    assert figures["problems"] == [], figures
    assert figures["different"] == [], figures
    assert figures["refused"].keys() <= {"503"}, figures  # a machine that others keep busy is full at times
    assert len(figures["visits"]) >= 8, figures  # kinds
    assert sum(figures["visits"].values()) > figures["seats"], figures
    assert figures["gaps"] > figures["unforeseen_gaps"], figures
    assert figures["compared_frames"] > 150, figures
    assert figures["annoyed"], figures
    if SECONDS:
        assert figures["unforeseen_gaps"] == 0, figures
        assert figures["refused"].get("503", 0) < 0.05 * sum(figures["visits"].values()), figures
        assert figures["mib_an_hour"] < ALLOWED_MIB, figures
    else:
        assert grown(figures) < ALLOWED_SHORT_MIB, figures


def test_faults_of_a_server_would_be_seen(model: Path) -> None:
    figures = churn(model, CONTROL_S, FEWER, "lose,repeat,mix,hide,leak")
    problems = "\n".join(figures["problems"])
    assert "frames missing" in problems, figures
    assert "repeated after" in problems, figures
    assert "was not told" in problems, figures
    assert any("is another's" in problem for problem in figures["different"]), figures
    assert grown(figures) > LEAK_MIB, figures
