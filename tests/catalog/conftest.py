"""A small collection of real files, and the command in this process and in others."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamtag.cli import main
from streamtag.scheduler.load import music
from tests.sounds import Encode
from tests.wav import write_wav

RATE = 16000
DEADLINE_S = 120.0


@dataclass(frozen=True)
class Answer:
    """The result of a call of the command line."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Catalog = Callable[..., Answer]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def catalog(model: Path, capfd: pytest.CaptureFixture[str]) -> Catalog:
    """`streamtag catalog` with the small model, here."""

    def run(*arguments: str | Path, model: Path = model) -> Answer:
        capfd.readouterr()
        code = main(["catalog", *map(str, arguments), "--model", str(model), "--device", "cpu"])
        return Answer(code, *capfd.readouterr())

    return run


@pytest.fixture
def start(model: Path) -> Start:
    """The same in a process of its own."""

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "streamtag.cli", "catalog", *map(str, arguments), "--model", str(model)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return start


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory, encode: Encode) -> Path:
    """Four files, two of them MP3s, in two folders, and one that is no sound by its name."""
    root = tmp_path_factory.mktemp("sounds")
    (root / "b").mkdir()
    write_wav(root / "a.wav", music(7.0, seed=1), RATE)
    write_wav(root / "b" / "short.wav", music(0.4, seed=2), RATE)
    encode(root / "b" / "mono.mp3", music(9.0, seed=3), RATE, "libmp3lame")
    encode(root / "b" / "stereo.mp3", music(6.0, seed=4), 44100, "libmp3lame", "stereo")
    (root / "b" / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    return root


@pytest.fixture
def collection(sounds: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(sounds, tmp_path / "collection"))


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More files than are open at a time, for some seconds of work: 100 of 40 s, all different."""
    root = tmp_path_factory.mktemp("many")
    piece = music(140.0, seed=5)
    for number in range(100):
        write_wav(root / f"{number:03d}.wav", piece[number * RATE :][: 40 * RATE], RATE)
    return root


@pytest.fixture(scope="session")
def whole(many: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what one run undisturbed makes of them: tags.parquet and frames.parquet. Not to be written to."""
    folder = tmp_path_factory.mktemp("whole")
    tables = "--out", folder / "tags.parquet", "--frames", folder / "frames.parquet"
    assert main(["catalog", str(many), *map(str, tables), "--model", str(model), "--device", "cpu"]) == 0
    return folder


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None) -> Any:
    """Return what the condition returns once that is true. Fails after DEADLINE_S and when the process ends before."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and (process is None or process.poll() is None):
        if found := condition():
            return found
        time.sleep(0.02)
    if process is not None:
        process.kill()
    pytest.fail(f"did not come: {'too late' if process is None else process.communicate()[1]}")


def journal_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.journal")


def count_results(out: Path) -> int:
    """Return the number of results that a running command has written to the journal of a table."""
    with suppress(sqlite3.Error):
        uri = f"{journal_path(out).as_uri()}?immutable=1"  # past the lock
        with closing(sqlite3.connect(uri, uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM result").fetchone()[0])
    return 0


def wait_for_commit(out: Path, before: int, process: subprocess.Popen[str]) -> None:
    """Wait until more results than before are certain: what is seen may not be complete until the next commit."""
    begun = before + wait_for(lambda: max(0, count_results(out) - before), process)
    wait_for(lambda: count_results(out) > begun, process)


def assert_tables_equal(one: Path, other: Path, names: Iterable[str], tags: Sequence[str], atol: float = 1e-5) -> None:
    """Compare the Parquet tables of these names in two folders; atol: of the probabilities, which batches round."""
    for name in names:
        first, second = (pd.read_parquet(folder / f"{name}.parquet") for folder in (one, other))
        probabilities = [column for column in first.columns if column in tags or column.startswith("concept_")]
        others = [column for column in first.columns if column not in probabilities and column != "top"]
        pd.testing.assert_frame_equal(first[others], second[others])
        np.testing.assert_allclose(first[probabilities].to_numpy(), second[probabilities].to_numpy(), atol=atol, rtol=0)
