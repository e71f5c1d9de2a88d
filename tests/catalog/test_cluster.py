"""The same work over Ray: a cluster of this machine alone, two workers, one of which is killed in the middle."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamtag.api import Tagger

Need = Callable[[str, bool, str], None]
Catalog = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]
DEADLINE_S = 120.0


@pytest.fixture
def ray(need: Need) -> None:
    need("ray", importlib.util.find_spec("ray") is not None, "needs Ray: pip install 'streamtag[ray]'")
    need("ray", sys.platform == "linux", "test looks for Ray's processes in /proc")


@pytest.mark.usefixtures("ray")
def test_two_workers_one_of_them_killed_come_to_the_same_as_one_process(
    start: Start, many: Path, whole: Path, tagger: Tagger, tmp_path: Path
) -> None:
    spread = tmp_path / "spread"
    spread.mkdir()
    tables = "--out", spread / "tags.parquet", "--frames", spread / "frames.parquet"
    process = start(many, *tables, "--ray", "--workers", "2")
    entries = spread / "tags.parquet.journal" / "entries.jsonl"
    try:
        workers = _wait_for(lambda: _two_workers(process.pid, entries), process)
        os.kill(workers[0], signal.SIGKILL)
        heard_then = len(entries.read_bytes().splitlines()) - 1
        fresh = _wait_for(lambda: set(_workers(process.pid)) - set(workers), process)
        family = [process.pid, *_children(process.pid)]
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert 0 < heard_then < 100
    assert fresh  # another one took the killed one's place
    assert "100 of 100 files" in err
    others = [line for line in err.splitlines() if not line.startswith("streamtag: ")]
    assert all("(raylet)" in line for line in others)  # Ray itself tells of nothing but the death, if at all
    for name, tolerance in (("tags", 1e-6), ("frames", 1e-5)):
        one, other = (pd.read_parquet(folder / f"{name}.parquet") for folder in (whole, spread))
        rest = [column for column in one.columns if column not in tagger.tags and column != "top"]
        pd.testing.assert_frame_equal(one[rest], other[rest])
        tags = list(tagger.tags)
        np.testing.assert_allclose(one[tags].to_numpy(), other[tags].to_numpy(), atol=tolerance)
    _wait_for(lambda: not [pid for pid in family if Path(f"/proc/{pid}/exe").exists()] or None, None)
    assert not list(Path(tempfile.gettempdir()).glob("st-ray-*"))


@pytest.mark.usefixtures("ray")
def test_ctrl_c_ends_ray_too_and_keeps_what_is_done(start: Start, many: Path, tmp_path: Path) -> None:
    entries, before = tmp_path / "tags.parquet.journal" / "entries.jsonl", _strangers()
    process = start(many, "--out", tmp_path / "tags.parquet", "--ray", "--workers", "1")
    try:
        _wait_for(lambda: entries.exists() and len(entries.read_bytes().splitlines()) > 1, process)
        family = [process.pid, *_children(process.pid)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 130, err
    rows = len(pd.read_parquet(tmp_path / "tags.parquet"))
    assert 0 < rows < 100
    assert f"{100 - rows} left: the same command goes on" in err
    assert [line for line in err.splitlines() if not line.startswith("streamtag: ")] == []
    _wait_for(lambda: not [pid for pid in family if Path(f"/proc/{pid}/exe").exists()], None)
    assert _strangers() <= before


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: nobody answers there: connection refused"),
        ("ray://127.0.0.1:1", "ray://127.0.0.1:1: nobody answers there: connection refused"),
        ("auto", "could not find any running ray instance"),
    ],
)
def test_a_cluster_that_is_not_there_is_an_error_in_one_line(
    catalog: Catalog, sounds: Path, tmp_path: Path, address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    answer = catalog(sounds, "--out", tmp_path / "tags.csv", "--ray", address)
    assert answer.code == 1
    assert reason in answer.err.lower()
    assert answer.err.startswith("streamtag: ray: ")
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "tags.csv").exists()


def test_without_ray_it_is_refused_in_one_line(
    catalog: Catalog, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest))
    answer = catalog(sounds, "--out", tmp_path / "tags.csv", "--ray")
    assert (answer.code, answer.err) == (1, "streamtag: --ray needs Ray: pip install 'streamtag[ray]'\n")


def _strangers() -> set[str]:
    """Processes of a Ray that was started anew while it was shut down: they would be nobody's children."""
    names = {folder: _read(f"{folder}/cmdline") for folder in Path("/proc").glob("[0-9]*")}
    return {str(folder) for folder, name in names.items() if b"raylet/raylet" in name and b"st-ray-" not in name}


def _two_workers(pid: int, entries: Path) -> list[int] | None:
    """When the first results are there."""
    workers = _workers(pid)
    there = len(workers) >= 2 and entries.exists() and len(entries.read_bytes().splitlines()) > 1
    return workers if there else None


def _workers(pid: int) -> list[int]:
    """The processes in which Ray Data's actors run."""
    return [child for child in _children(pid) if b"MapWorker" in _read(f"/proc/{child}/cmdline")]


def _children(pid: int) -> list[int]:
    """All below the process."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _read(f"{folder}/stat").rpartition(b")")[2].split()
        if fields:
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    return list(_below(pid, parents))


def _below(pid: int, parents: dict[int, list[int]]) -> Iterator[int]:
    for child in parents.get(pid, []):
        yield child
        yield from _below(child, parents)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def _wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and (process is None or process.poll() is None):
        if found := condition():
            return found
        time.sleep(0.02)
    reason = "too late" if process is None else process.communicate()[1]
    pytest.fail(f"did not come: {reason}")
