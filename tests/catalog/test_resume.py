"""A run continues an earlier one, however that ended: only files that are new or have changed are tagged."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from streamtag.api import Tagger
from streamtag.catalog.journal import Journal
from tests.catalog.conftest import (
    DEADLINE_S,
    Catalog,
    Start,
    assert_tables_equal,
    count_results,
    journal_path,
    wait_for,
    wait_for_commit,
)
from tests.conftest import LimitFileSize


def _known(out: Path) -> int:
    with closing(sqlite3.connect(journal_path(out))) as database:
        return int(database.execute("SELECT count(*) FROM result").fetchone()[0])


def test_only_new_and_changed_files_are_tagged(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tags.parquet"
    catalog(collection, "--out", out)
    before = pd.read_parquet(out)

    again = catalog(collection, "--out", out)
    assert "4 of 4 files are known from before" in again.err
    pd.testing.assert_frame_equal(pd.read_parquet(out), before)

    shutil.copy(collection / "a.wav", collection / "new.wav")
    shutil.copyfile(collection / "a.wav", collection / "b" / "short.wav")
    (collection / "b" / "mono.mp3").unlink()
    os.utime(collection / "b" / "stereo.mp3", (1, 1))  # another time, the same size
    monkeypatch.chdir(collection)
    answer = catalog(".", "--out", out, "--prune")  # another spelling of the same paths
    assert "4 of 4 files in" in answer.err
    assert "added 1, renewed 2, unchanged 1, removed 1" in answer.err
    after = pd.read_parquet(out)
    assert after["path"].tolist() == ["a.wav", "b/short.wav", "b/stereo.mp3", "new.wav"]
    assert after["guitar"][1] == pytest.approx(after["guitar"][0], abs=1e-6)


def test_files_are_tagged_again_if_their_frames_were_not_kept(
    catalog: Catalog, collection: Path, tmp_path: Path
) -> None:
    out, frames = tmp_path / "tags.csv", tmp_path / "frames.csv"
    catalog(collection, "--out", out)
    assert "renewed 4" in catalog(collection, "--out", out, "--frames", frames).err
    content = frames.read_bytes()
    assert "4 of 4 files are known from before" in catalog(collection, "--out", out, "--frames", frames).err
    assert frames.read_bytes() == content


def test_a_file_that_failed_is_tried_again(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "tags.csv", collection / "z.wav"
    file.touch()
    for _ in range(2):
        answer = catalog(file, "--out", out)
        assert answer.code == 1
        assert "known from before" not in answer.err
    shutil.copy(collection / "b" / "short.wav", file)
    assert catalog(file, "--out", out).code == 0


def test_two_runs_at_once_do_not_write_one_catalogue(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    with Journal(tmp_path / "tags.csv.journal"):
        answer = catalog(collection, "--out", tmp_path / "tags.csv")
    assert answer.code == 1
    assert "another run is writing this catalogue" in answer.err


@pytest.mark.slow
def test_a_run_that_is_killed_repeatedly_comes_to_the_same_tables(
    start: Start, many: Path, whole: Path, tagger: Tagger, tmp_path: Path
) -> None:
    out = tmp_path / "tags.parquet"
    more = ["--frames", tmp_path / "frames.parquet"]
    counts = [0]
    for _ in range(2):
        process = start(many, "--out", out, "--threads", "1", *more)
        wait_for_commit(out, counts[-1], process)
        process.kill()
        process.communicate()
        assert not out.exists()
        counts.append(_known(out))
    assert 0 < counts[1] < counts[2] < 100  # in the middle, twice
    process = start(many, "--out", out, *more)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert f"{counts[2]} of 100 files are known from before" in err
    assert _known(out) == 100
    assert_tables_equal(whole, tmp_path, ("tags", "frames"), tagger.tags)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_signal_keeps_the_results(start: Start, many: Path, tmp_path: Path) -> None:
    """SIGTERM; `catalog --ray` is interrupted by Ctrl-C in a test of the cluster."""
    out = tmp_path / "tags.parquet"
    process = start(many, "--out", out, "--threads", "1")
    wait_for(lambda: count_results(out), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143
    rows = len(pd.read_parquet(out))
    assert 0 < rows < 100
    assert f"{100 - rows} left: the same command goes on" in err
    assert "Traceback" not in err


def test_a_full_disk_ends_the_run_in_one_line_and_the_next_run_continues(
    catalog: Catalog, collection: Path, tmp_path: Path, limit_file_size: LimitFileSize
) -> None:
    out = tmp_path / "tags.csv"
    limit_file_size(30_000)
    answer = catalog(collection, "--out", out, "--frames", tmp_path / "frames.csv")
    limit_file_size(None)
    assert answer.code == 1
    assert answer.err.splitlines()[-1] == f"streamtag: {out}.journal: cannot write: disk I/O error"
    assert not out.exists()
    assert catalog(collection, "--out", out).code == 0
    assert len(pd.read_csv(out)) == 4
