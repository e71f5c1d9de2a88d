"""Files tagged over Ray: a cluster of this machine only, two workers, one of which is killed in the middle."""

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


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_two_workers_one_of_them_killed_give_the_tables_of_one_process(
    start: Start, many: Path, whole: Path, tagger: Tagger, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    tables = "--out", folder / "tags.parquet", "--frames", folder / "frames.parquet"
    process = start(many, *tables, "--ray", "--actors", "2")
    entries = folder / "tags.parquet.journal" / "entries.jsonl"
    try:
        workers = _wait_for(lambda: _two_workers(process.pid, entries), process)
        os.kill(workers[0], signal.SIGKILL)
        tagged_then = len(entries.read_bytes().splitlines()) - 1
        replacement = _wait_for(lambda: set(_workers(process.pid)) - set(workers), process)
        family = [process.pid, *_children(process.pid)]
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert 0 < tagged_then < 100
    assert replacement
    assert "100 of 100 files" in err
    others = [line for line in err.splitlines() if not line.startswith("streamtag: ")]
    assert all("(raylet)" in line for line in others)  # Ray itself reports the death at most
    for name, tolerance in (("tags", 1e-6), ("frames", 1e-5)):
        one, other = (pd.read_parquet(place / f"{name}.parquet") for place in (whole, folder))
        tags = list(tagger.tags)
        columns = [column for column in one.columns if column not in tags and column != "top"]
        pd.testing.assert_frame_equal(one[columns], other[columns])
        np.testing.assert_allclose(one[tags].to_numpy(), other[tags].to_numpy(), atol=tolerance)
    _wait_for(lambda: not [pid for pid in family if Path(f"/proc/{pid}/exe").exists()] or None, None)
    assert not list(Path(tempfile.gettempdir()).glob("st-ray-*"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_ctrl_c_ends_ray_too_and_keeps_the_results(start: Start, many: Path, tmp_path: Path) -> None:
    entries, before = tmp_path / "tags.parquet.journal" / "entries.jsonl", _orphans()
    process = start(many, "--out", tmp_path / "tags.parquet", "--ray", "--actors", "1")
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
    assert _orphans() <= before


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "127.0.0.1:1: nobody answers there: connection refused"),
        ("ray://127.0.0.1:1", "ray://127.0.0.1:1: nobody answers there: connection refused"),
        pytest.param("auto", "could not find any running ray instance", marks=pytest.mark.slow),  # imports Ray
    ],
)
def test_an_unreachable_cluster_is_an_error_in_one_line(
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


def _orphans() -> set[str]:
    """Return processes of a Ray that was started during the shutdown: they would have no parent here."""
    names = {folder: _read(f"{folder}/cmdline") for folder in Path("/proc").glob("[0-9]*")}
    return {str(folder) for folder, name in names.items() if b"raylet/raylet" in name and b"st-ray-" not in name}


def _two_workers(pid: int, entries: Path) -> list[int] | None:
    """Return two workers once the first results are there."""
    workers = _workers(pid)
    ready = len(workers) >= 2 and entries.exists() and len(entries.read_bytes().splitlines()) > 1
    return workers if ready else None


def _workers(pid: int) -> list[int]:
    """Return the processes in which Ray Data's actors run."""
    return [child for child in _children(pid) if b"MapWorker" in _read(f"/proc/{child}/cmdline")]


def _children(pid: int) -> list[int]:
    """Return all descendants of the process."""
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
