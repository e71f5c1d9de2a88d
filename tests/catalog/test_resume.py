"""A run goes on where an earlier one ended, however that came about; only what is new or has changed is heard."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamtag.api import Tagger
from streamtag.catalog.journal import Journal
from streamtag.cli.bench.figures import music
from streamtag.model.model_file import load_tagger, save_tagger

Catalog = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]
DEADLINE_S = 120.0


def _heard(entries: Path) -> list[str]:
    """The names of the files that were heard, in order, from the journal."""
    lines = entries.read_text().splitlines()[1:]
    return [Path(json.loads(line)["place"]).name for line in lines]


def _entries(out: Path) -> Path:
    return out.with_name(f"{out.name}.journal") / "entries.jsonl"


def _equal(one: Path, other: Path, tagger: Tagger) -> None:
    first, second = pd.read_parquet(one), pd.read_parquet(other)
    rest = [name for name in first.columns if name not in tagger.tags and name != "top"]
    pd.testing.assert_frame_equal(first[rest], second[rest])
    tags = list(tagger.tags)
    np.testing.assert_allclose(first[tags].to_numpy(), second[tags].to_numpy(), atol=1e-6)


def test_only_what_is_new_or_has_changed_is_heard(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    out = tmp_path / "tags.parquet"
    names = ["a.wav", "mono.mp3", "short.wav", "stereo.mp3"]
    catalog(collection, "--out", out)
    assert sorted(_heard(_entries(out))) == names
    before = pd.read_parquet(out)

    again = catalog(collection, "--out", out)
    assert "4 of 4 files are known from before" in again.err
    assert len(_heard(_entries(out))) == 4
    pd.testing.assert_frame_equal(pd.read_parquet(out), before)

    shutil.copy(collection / "a.wav", collection / "new.wav")
    changed = collection / "b" / "short.wav"
    shutil.copyfile(collection / "a.wav", changed)
    (collection / "b" / "mono.mp3").unlink()
    catalog(collection, "--out", out)
    assert sorted(_heard(_entries(out))[4:]) == ["new.wav", "short.wav"]
    after = pd.read_parquet(out)
    assert after["path"].map(lambda path: Path(path).name).tolist() == ["a.wav", "short.wav", "stereo.mp3", "new.wav"]
    assert after["guitar"][1] == pytest.approx(after["guitar"][0], abs=1e-6)


def test_a_file_of_another_time_is_heard_again_though_its_size_is_the_same(
    catalog: Catalog, collection: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tags.csv"
    catalog(collection, "--out", out)
    os.utime(collection / "a.wav", (1, 1))
    catalog(collection, "--out", out)
    assert _heard(_entries(out))[4:] == ["a.wav"]


def test_another_model_hears_everything_again(catalog: Catalog, collection: Path, model: Path, tmp_path: Path) -> None:
    network = load_tagger(model)
    network.head.weight.data += 0.1
    save_tagger(network, tmp_path / "other.safetensors")
    out = tmp_path / "tags.parquet"
    catalog(collection, "--out", out)
    first = pd.read_parquet(out)
    catalog(collection, "--out", out, model=tmp_path / "other.safetensors")
    second = pd.read_parquet(out)
    assert len(_heard(_entries(out))) == 8
    assert set(first["model"]).isdisjoint(second["model"])
    assert (first["guitar"] - second["guitar"]).abs().max() > 1e-4
    catalog(collection, "--out", out)  # and what the first had heard is still known
    pd.testing.assert_frame_equal(pd.read_parquet(out), first)


def test_frames_that_were_not_kept_are_heard_for(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    out, frames = tmp_path / "tags.csv", tmp_path / "frames.csv"
    catalog(collection, "--out", out)
    catalog(collection, "--out", out, "--frames", frames)
    assert len(_heard(_entries(out))) == 8
    whole = frames.read_bytes()
    catalog(collection, "--out", out, "--frames", frames)
    assert len(_heard(_entries(out))) == 8
    assert frames.read_bytes() == whole


def test_what_failed_is_tried_again(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    (collection / "z.wav").touch()
    assert catalog(collection, "--out", out).code == 1
    assert catalog(collection, "--out", out).code == 1
    shutil.copy(collection / "a.wav", collection / "z.wav")
    assert catalog(collection, "--out", out).code == 0
    assert _heard(_entries(out))[5:] == ["z.wav", "z.wav"]


def test_from_another_folder_the_same_files_are_known(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog(collection, "--out", tmp_path / "tags.csv")
    monkeypatch.chdir(collection)
    assert "4 of 4 files are known" in catalog(".", "--out", tmp_path / "tags.csv").err


def test_two_runs_at_once_do_not_write_one_catalogue(catalog: Catalog, collection: Path, tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    with Journal(tmp_path / "tags.csv.journal"):
        answer = catalog(collection, "--out", out)
    assert answer.code == 1
    assert "another run is writing this catalogue" in answer.err
    assert catalog(collection, "--out", out).code == 0


@pytest.mark.parametrize("frames", [False, True])
def test_a_run_that_is_killed_again_and_again_comes_to_the_same(
    start: Start, many: Path, whole: Path, tagger: Tagger, tmp_path: Path, frames: bool
) -> None:
    out = tmp_path / "tags.parquet"
    more = ["--frames", tmp_path / "frames.parquet"] if frames else []
    counts = [0]
    for _ in range(2):
        process = start(many, "--out", out, "--workers", "1", *more)
        _wait_for_more(_entries(out), process, counts[-1])
        process.kill()
        process.communicate()
        assert not out.exists()
        counts.append(len(_heard(_entries(out))))
    assert 0 < counts[1] < counts[2] < 100  # in the middle, twice
    process = start(many, "--out", out, *more)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert f"{counts[2]} of 100 files are known from before" in err
    names = _heard(_entries(out))
    assert len(names) == len(set(names)) == 100
    _equal(out, whole / "tags.parquet", tagger)
    if frames:
        again, kept = (pd.read_parquet(folder / "frames.parquet") for folder in (tmp_path, whole))
        assert again["path"].tolist() == kept["path"].tolist()
        np.testing.assert_allclose(again[list(tagger.tags)], kept[list(tagger.tags)], atol=1e-5)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_done(
    start: Start, many: Path, tagger: Tagger, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "tags.parquet"
    process = start(many, "--out", out, "--workers", "1")
    _wait_for_more(_entries(out), process, 0)
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code
    rows = len(pd.read_parquet(out))
    assert 0 < rows < 100
    assert f"{100 - rows} left: the same command goes on" in err
    assert "Traceback" not in err
    process = start(many, "--out", out)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert f"{rows} of 100 files are known" in err
    table = pd.read_parquet(out)
    assert len(table) == 100
    result = tagger.tag(many / "050.wav")
    np.testing.assert_allclose(table[list(tagger.tags)].to_numpy()[50], list(result.summary.values()), atol=1e-5)


def test_a_full_disk_ends_the_run_in_one_line_and_the_next_goes_on(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tags.csv"
    real = os.write

    def half(file: int, data: Any) -> int:
        if bytes(data).startswith(b'{"place"'):
            real(file, bytes(data)[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return real(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        answer = catalog(collection, "--out", out)
    assert answer.code == 1
    assert answer.err.splitlines()[-1] == f"streamtag: {out}.journal: cannot write: no space left on device"
    assert not out.exists()
    assert catalog(collection, "--out", out).code == 0
    assert len(pd.read_csv(out)) == 4


def test_a_file_that_grows_while_it_is_heard_is_heard_again(
    catalog: Catalog, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tags.csv"
    add, grown = Journal.add, collection / "a.wav"

    def add_and_grow(journal: Journal, entry: Any, frames: Any) -> Any:
        if entry.abspath == str(grown):
            data = (music(1.0) * 30000).astype("<i2").tobytes()
            grown.write_bytes(grown.read_bytes() + data)
        return add(journal, entry, frames)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", add_and_grow)
        catalog(collection, "--out", out)
    catalog(collection, "--out", out)
    assert _heard(_entries(out))[4:] == ["a.wav"]


def _wait_for_more(entries: Path, process: subprocess.Popen[str], than: int) -> None:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        if entries.exists() and len(entries.read_bytes().splitlines()) > 1 + than:
            return
        time.sleep(0.01)
    process.kill()
    pytest.fail(f"nothing came: {process.communicate()[1]}")
