"""Long runs: nothing grows, and no stream is lost, repeated or mixed up.

STREAMTAG_CHURN_S: seconds of churn at 80 % of what the machine can hold; without it, a short run with few streams.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.soak.live import GAP_S, GAPS

ROOT = Path(__file__).resolve().parents[2]
CHURN_S = float(os.environ.get("STREAMTAG_CHURN_S", "0"))
LIVE_S = 3600.0
MAX_MIB_PER_HOUR = 15.0  # what the allocator keeps; 2 to 4 on an idle machine
MAX_GROWTH_MIB = 30.0  # of a short churn, whose batches still grow
LEAK_MIB = 60.0  # that the leak of the control adds at least

pytestmark = [pytest.mark.slow, pytest.mark.soak]


def run(module: str, model: Path, seconds: float, *arguments: str) -> dict[str, Any]:
    """Run it in a process of its own, whose memory nothing else has used."""
    command = [sys.executable, "-m", f"tests.soak.{module}", str(model), str(seconds), *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=seconds + 240, env=env, cwd=ROOT)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def growth_mib(figures: dict[str, Any]) -> float:
    """Return the growth in the settled part of a churn run."""
    return float(figures["mib_per_hour"] * 0.6 * figures["seconds"] / 3600)


def test_under_churn_every_stream_gets_its_own_frames_and_memory_stays_bounded(model: Path) -> None:
    figures = run("churn", model, CHURN_S or 15.0, "0" if CHURN_S else "40")
    assert figures["problems"] == [], figures
    assert figures["wrong_frames"] == [], figures
    assert figures["refused"].keys() <= {"503"}, figures  # a machine that others keep busy is full at times
    assert len(figures["scenarios"]) >= 8, figures
    assert sum(figures["scenarios"].values()) > figures["places"], figures
    assert figures["bad_requests"].get("400", 0) > 0, figures
    assert figures["gaps"] > figures["unexpected_gaps"], figures
    assert figures["compared_frames"] > 150, figures
    if CHURN_S:
        assert figures["unexpected_gaps"] == 0, figures
        assert figures["refused"].get("503", 0) < 0.05 * sum(figures["scenarios"].values()), figures
        assert figures["mib_per_hour"] < MAX_MIB_PER_HOUR, figures
    else:
        assert growth_mib(figures) < MAX_GROWTH_MIB, figures


def test_faults_of_a_server_are_detected(model: Path) -> None:
    figures = run("churn", model, 9.0, "24", "lose,repeat,mix,hide,leak")
    problems = "\n".join(figures["problems"])
    assert "frames missing" in problems, figures
    assert "repeated after" in problems, figures
    assert "no gap at" in problems, figures
    assert any("has other probabilities" in problem for problem in figures["wrong_frames"]), figures
    assert growth_mib(figures) > LEAK_MIB, figures


def test_a_long_live_run_loses_only_what_the_device_lost_and_memory_stays_bounded(model: Path) -> None:
    figures = run("live", model, LIVE_S)
    assert figures["problems"] == []
    assert figures["speed"] >= 30, figures
    assert figures["gaps"] == [GAPS] * 3
    assert figures["lost_s"] == pytest.approx(GAPS * GAP_S, abs=0.05)
    assert figures["elapsed_s"] == pytest.approx(LIVE_S, abs=2.0)
    assert figures["mib_per_hour"] < MAX_MIB_PER_HOUR, figures


def test_a_leak_of_a_live_run_is_detected(model: Path) -> None:
    figures = run("live", model, LIVE_S / 6, "leak")
    assert figures["mib_per_hour"] > 4 * MAX_MIB_PER_HOUR, figures  # 12.8 kB a frame: 180 MB an hour
