"""Many files in one batch: each gets its own result, and few are open at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtag.api import Tagger
from streamtag.audio.decoder import Source, SourceSpec, open_source
from streamtag.audio.files import Address
from streamtag.catalog.file_task import TaskConfig, TaskResult
from streamtag.catalog.files import AudioFile, Collection
from streamtag.catalog.runner import FileBatch, ThreadedRunner
from streamtag.inference.batch import SessionPool
from tests.catalog.conftest import RATE
from tests.wav import write_wav

CONFIG = TaskConfig("m", True, lambda *_: None)


def _results(
    tagger: Tagger, files: Sequence[AudioFile], max_files: int, config: TaskConfig = CONFIG
) -> dict[str, TaskResult]:
    batch = FileBatch(SessionPool(tagger, slots=max_files), max_files, config)
    return {item[0].abspath: item for item in batch.run(iter(files))}


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[AudioFile, ...]:
    """Twelve files of 4 s."""
    folder = tmp_path_factory.mktemp("dozen")
    for number in range(12):
        write_wav(folder / f"{number}.wav", np.random.default_rng(number).random(4 * RATE, dtype=np.float32), RATE)
    return Collection.find([str(folder)]).files


@pytest.mark.parametrize("max_files", [1, 3, 16])
def test_a_batch_of_any_size_gives_each_file_its_own_result(sounds: Path, tagger: Tagger, max_files: int) -> None:
    files = Collection.find([str(sounds)]).files
    found = _results(tagger, files, max_files)
    assert len(found) == len(files)
    for abspath, (result, frames) in found.items():
        alone = tagger.tag(abspath)
        assert frames is not None
        assert result.means is not None
        np.testing.assert_allclose(frames, alone.probs, atol=1e-5)
        np.testing.assert_allclose(result.means, list(alone.summary.values()), atol=1e-5)


def test_no_more_files_are_open_than_allowed(dozen: tuple[AudioFile, ...], tagger: Tagger) -> None:
    now = most = 0

    class CountedSource(Source):
        def __init__(self, path: str, spec: SourceSpec) -> None:
            nonlocal now, most
            super().__init__(Address.of(path), spec)
            now += 1
            most = max(most, now)

        def close(self) -> None:
            nonlocal now
            super().close()
            now -= 1

    _results(tagger, dozen, 5, replace(CONFIG, open_file=CountedSource))
    assert (now, most) == (0, 5)


def test_files_that_fail_free_their_places_for_the_others(tmp_path: Path, sounds: Path, tagger: Tagger) -> None:
    def open_file(path: str, spec: SourceSpec) -> Source:
        if path.endswith("a.wav"):
            raise ValueError("odd")
        return open_source(path, spec)

    (tmp_path / "bad.mp3").write_bytes(b"no sound" * 100)
    files = Collection.find([str(tmp_path / "bad.mp3"), str(sounds)]).files
    found = _results(tagger, files, 1, replace(CONFIG, open_file=open_file))
    errors = {Path(path).name: result.error for path, (result, _) in found.items()}
    assert errors.pop("a.wav") == "cannot be decoded: ValueError: odd"
    assert errors.pop("bad.mp3")
    assert errors == {"mono.mp3": None, "short.wav": None, "stereo.mp3": None}


@pytest.mark.parametrize("max_results", [1, 64])
def test_closing_a_runner_early_ends_its_threads(
    max_results: int, dozen: tuple[AudioFile, ...], tagger: Tagger
) -> None:
    before = threading.active_count()
    with ThreadedRunner(SessionPool(tagger, slots=64), 2, CONFIG, max_results) as runner:
        assert next(item for item in runner.run(dozen) if item is not None)[0].error is None
    assert threading.active_count() == before


def test_an_error_in_a_thread_is_raised_by_run(sounds: Path, tagger: Tagger) -> None:
    class BrokenPool(SessionPool):
        def step(self, *_: Any) -> Any:
            raise ArithmeticError("the network is broken")

    with (
        ThreadedRunner(BrokenPool(tagger, slots=64), 2, CONFIG) as runner,
        pytest.raises(ArithmeticError, match="network is broken"),
    ):
        list(runner.run(Collection.find([str(sounds)]).files))


def test_the_reported_progress_adds_up_to_the_files(sounds: Path, tagger: Tagger) -> None:
    files, total = Collection.find([str(sounds)]).files, np.zeros(2)

    def add(seconds: float, size: float) -> None:
        total[:] += seconds, size

    batch = FileBatch(SessionPool(tagger, slots=4), 4, TaskConfig("m", False, add))
    seconds = sum(result.seconds for result, _ in batch.run(iter(files)))
    np.testing.assert_allclose(total, [seconds, sum(file.size for file in files)], rtol=1e-6)
