"""The GPU benchmark in miniature: every part reports, whatever is missing or stops it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from streamtag.model import load_tagger
from tests.benchmarks.gpu import PARTS, run_process
from tests.benchmarks.gpu_parts.report import DONE, PROBLEM, Report, has_succeeded, read, table
from tests.benchmarks.gpu_parts.settings import Settings

SCRIPT = Path(__file__).with_name("gpu.py")


def start(out: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), "--out", str(out), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def parts_that_run(out: Path) -> list[str]:
    """Return the command lines of parts whose results go to a folder."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            lines.append(file.read_bytes().decode().replace("\0", " "))
    return [line for line in lines if f"--out {out}" in line and "--part" in line]


@pytest.mark.slow
def test_a_dry_run_does_all_of_it_in_miniature(tmp_path: Path) -> None:
    process = start(tmp_path, "--dry-run")
    printed, errors = process.communicate(timeout=400)
    found = read(tmp_path / "results.jsonl")
    assert process.returncode == 0, errors
    assert has_succeeded(found, PARTS)
    assert printed.strip() == table(found) == (tmp_path / "table.txt").read_text().strip()
    by_part: dict[str, list[dict[str, Any]]] = {part: [row for row in found if row["part"] == part] for part in PARTS}
    outcomes = Counter(row.get("outcome") for row in by_part["tests"] if row["name"] != DONE)
    assert set(outcomes) == {"passed" if torch.cuda.is_available() else "skipped"}
    assert outcomes.total() > 10
    shares = next(row for row in by_part["streams"] if "front_end_share" in row)
    assert all(shares[f"{part}_share"] > 0 for part in ("copy_in", "front_end", "gru", "copy_out"))
    assert [row["streams"] for row in by_part["streams"] if row["name"] in ("network alone", "scheduler")] == [8, 2]
    assert next(row for row in by_part["front-end"] if row["name"] == "all of MagnaTagATune")["seconds"] > 0
    assert next(row for row in by_part["speed"] if "times_plain_loop" in row)["minutes_for_300_epochs"] > 0
    assert len(load_tagger(tmp_path / "model.safetensors").tags) == 50


@pytest.mark.slow
def test_a_run_that_is_stopped_reports_what_it_has(tmp_path: Path) -> None:
    process = start(tmp_path, "--dry-run", "--only", "machine,training", "--seconds", "1000")
    results = tmp_path / "results.jsonl"
    until = time.monotonic() + 120
    while not any(row["part"] == "training" for row in read(results)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    assert len(parts_that_run(tmp_path)) == 1
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the run was stopped by SIGTERM" in printed
    last = read(results)[-1]
    assert last == {"part": "training", "name": "stopped", PROBLEM: "the run was stopped by SIGTERM"}
    assert not parts_that_run(tmp_path), "the part has ended, too"


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    settings = Settings(tmp_path, None, 1000.0, is_dry=True)
    began = time.monotonic()
    assert run_process("training", settings, 1.0) == "did not end within its limit of 1 s"
    assert time.monotonic() - began < 20
    assert run_process("training", settings, 0.0) == "there was no time left"


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_real_run_without_a_gpu_fails_and_says_why(tmp_path: Path) -> None:
    process = start(tmp_path, "--only", "machine")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "this torch finds no GPU" in printed


def test_the_report(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    Report(file, "a").write("first", rate=1.23456789, passed=True)
    Report(file, "a").write(DONE)
    Report(file, "b").write("second", **{PROBLEM: "it broke"})
    with file.open("a") as stream:
        stream.write(json.dumps({"part": "b"})[:-2])  # the process was killed while it wrote
    found = read(file)
    assert found[0] == {"part": "a", "name": "first", "rate": 1.235, "passed": True}
    assert len(found) == 3
    assert has_succeeded(found[:2], ["a"])
    assert not has_succeeded(found[:2], ["a", "b"]), "b is not complete"
    assert not has_succeeded([*found, {"part": "b", "name": DONE}], ["a", "b"]), "b has a problem"
    assert table(found).splitlines() == [
        "a  first   rate 1.235, passed True",
        "   done",
        "b  second  problem it broke",
    ]
