"""A tiny data set in the documented format: tones and noise, two rules to learn and one coin toss."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamtag.model.batched import torch_threads
from tests.conftest import FillOnce
from tests.trainer.synthetic_magnatagatune import SyntheticSet, write_set
from trainer import cli
from trainer.data.dataset import read_dataset
from trainer.data.manifest import Manifest
from trainer.features.audio import encode
from trainer.features.cache import Cache
from trainer.features.extraction import prepare
from trainer.train.config import TrainConfig
from trainer.train.dataset import load_data
from trainer.train.loop import Run

TAGS = ("high tone", "noisy", "coin")  # the last one is chance: nothing in the sound tells
RATE = 16000
TRACKS, UNTAGGED = 24, 6
Command = Callable[..., tuple[int, str, str]]


def sound(rng: np.random.Generator, high: bool, noisy: bool, seconds: float = 3.0) -> np.ndarray:
    """A tone, low or high, with or without noise, at a random level."""
    hz = rng.uniform(2000, 4000) if high else rng.uniform(150, 500)
    times = np.arange(round(seconds * RATE)) / RATE
    samples = np.sin(2 * np.pi * hz * times)
    if noisy:
        samples = samples + rng.normal(0, 0.5, len(times))
    return (samples * rng.uniform(0.1, 0.4)).astype(np.float32)


def write_rows(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def contents(cache: Cache) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.folder.iterdir() if path.name != ".lock"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small products are fastest, and repeatable, on one thread; commands set another number."""
    with torch_threads(1):
        yield


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """(words) -> exit code, standard output and standard error of a command of the trainer, in this process."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["trainer", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        code = left.value.code
        return (code if isinstance(code, int) else 0), *capsys.readouterr()

    return run


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their plots, each of which takes 0.3 s: `tests.trainer.report` looks at these."""
    monkeypatch.setattr("trainer.report.document.png", lambda _: b"")


@pytest.fixture(scope="session")
def write_tree() -> Callable[[Path, int, int], Path]:
    """(folder, training clips, validation clips) -> the folder, filled."""

    def write(folder: Path, training: int, validation: int) -> Path:
        rng = np.random.default_rng(7)
        (folder / "audio").mkdir(parents=True)
        clips: list[Sequence[object]] = [("clip_id", "split", "kind")]
        targets: list[Sequence[object]] = [("clip_id", *TAGS)]
        for number in range(training + validation):
            high, noisy, coin = number % 2, number // 2 % 2, int(rng.integers(2))
            name = f"clip-{number:03d}"
            encode(sound(rng, bool(high), bool(noisy)), RATE, "mp3", 32000, folder / "audio" / f"{name}.mp3")
            split = "train" if number < training else "valid"
            clips.append((name, split, "odd" if number % 3 else "even"))
            targets.append((name, high, noisy, coin))
        write_rows(folder / "clips.csv", clips)
        write_rows(folder / "targets.csv", targets)
        (folder / "tags.txt").write_text("\n".join(TAGS) + "\n")
        return folder

    return write


@pytest.fixture(scope="session")
def tree(fill_once: FillOnce, write_tree: Callable[[Path, int, int], Path]) -> Path:
    """64 training clips, 32 for validation. Not to be written to."""
    return fill_once("tones", lambda folder: write_tree(folder, 64, 32))


@pytest.fixture(scope="session")
def manifest(tree: Path) -> Manifest:
    return read_dataset(tree)


@pytest.fixture(scope="session")
def cache(manifest: Manifest, fill_once: FillOnce) -> Cache:
    """The features of `tree`, with one augmented pass. Not to be written to."""

    def fill(folder: Path) -> None:
        with torch_threads(1):
            list(prepare(Cache(folder, manifest, "scattering", seed=1), passes=1, workers=0))

    return Cache(fill_once("features", fill), manifest, "scattering", seed=1)


@pytest.fixture(scope="session")
def small() -> TrainConfig:
    """A network and a recipe for seconds of training."""
    return TrainConfig(
        system="Scat-2L-32H-GRU", epochs=20, batch=16, rate=0.01, warmup=4, frames=10, ema=0.9, dropout=0.1,
        ramp_s=0.5, noise=0.05, gain_db=2.0,
    )  # fmt: skip


@pytest.fixture(scope="session")
def finished_run(cache: Cache, small: TrainConfig, fill_once: FillOnce) -> Path:
    """The folder of a run of eight epochs. Not to be written to."""

    def fill(folder: Path) -> None:
        config = replace(small, epochs=8)
        with torch_threads(1):
            list(Run(folder, config, load_data(cache, config, 0, lambda: None)).epochs())

    return fill_once("finished run", fill)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSet:
    """A miniature MagnaTagATune of about 200 clips of 0.3 s. Not to be written to."""
    return write_set(tmp_path_factory.mktemp("dataset") / "magnatagatune", seconds=0.3)


@pytest.fixture(scope="session")
def track_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 tracks by 12 artists with human tags ("high_tone" has the model's name but for the line, "noisy", "cowbell"),
    and six more without. Not to be written to."""
    folder, rng = tmp_path_factory.mktemp("tracks"), np.random.default_rng(3)
    (folder / "audio").mkdir()
    tracks: list[tuple[object, ...]] = [("track_id", "artist", "album")]
    human: list[tuple[object, ...]] = [("track_id", "clips", "high_tone", "noisy", "cowbell")]
    for number in range(TRACKS + UNTAGGED):
        high, noisy = number % 2, number // 2 % 2
        name = f"track-{number:02d}"
        encode(sound(rng, bool(high), bool(noisy), 4.0), RATE, "opus", 24000, folder / "audio" / f"{name}.opus")
        tracks.append((name, f"artist {number % 12}", "an album"))
        if number < TRACKS:
            human.append((name, 4, 3 * high, 2 * noisy, number % 3))
    write_rows(folder / "tracks.csv", tracks)
    write_rows(folder / "human_tags.csv", human)
    return folder
