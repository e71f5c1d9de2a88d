"""Files tagged over Ray: a cluster of this machine only, two workers, one of which is killed in the middle."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from streamtag.api import Tagger
from tests.catalog.conftest import (
    DEADLINE_S,
    Catalog,
    Start,
    assert_tables_equal,
    count_results,
    wait_for,
)

Need = Callable[[str, bool, str], None]


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
    out = folder / "tags.parquet"
    process = start(many, "--out", out, "--frames", folder / "frames.parquet", "--ray", "--actors", "2")
    try:
        wait_for(lambda: count_results(out) and len(_workers(process.pid)) >= 2, process)
        workers = _workers(process.pid)
        os.kill(workers[0], signal.SIGKILL)
        tagged_then = count_results(out)
        replacement = wait_for(lambda: set(_workers(process.pid)) - set(workers), process)
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
    assert_tables_equal(whole, folder, ("tags", "frames"), tagger.tags, atol=1e-5)  # batches of other files
    wait_for(lambda: not [pid for pid in family if Path(f"/proc/{pid}/exe").exists()] or None, None)
    assert not list(Path(tempfile.gettempdir()).glob("st-ray-*"))


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_ctrl_c_ends_ray_too_and_keeps_the_results(start: Start, many: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "tags.parquet", _orphans()
    process = start(many, "--out", out, "--ray", "--actors", "1")
    try:
        wait_for(lambda: count_results(out), process)
        family = [process.pid, *_children(process.pid)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 130, err
    rows = len(pd.read_parquet(out))
    assert 0 < rows < 100
    assert f"{100 - rows} left: the same command goes on" in err
    assert [line for line in err.splitlines() if not line.startswith("streamtag: ")] == []
    wait_for(lambda: not [pid for pid in family if Path(f"/proc/{pid}/exe").exists()], None)
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


def _workers(pid: int) -> list[int]:
    """Return the processes in which actors run."""
    return [child for child in _children(pid) if b"ray::Actor" in _read(f"/proc/{child}/cmdline")]


def _children(pid: int) -> list[int]:
    """Return all descendants of the process."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _read(f"{folder}/stat").rpartition(b")")[2].split()
        if fields:
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    family = [pid]
    for parent in family:  # grows meanwhile
        family += parents.get(parent, [])
    return family[1:]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
