"""Many files through one batch: none knows of the others, and few are open at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtag.api import Tagger
from streamtag.audio.decoder import open_source
from streamtag.catalog.file_batch import FileBatch
from streamtag.catalog.file_task import TaskResult
from streamtag.catalog.files import AudioFile, Collection
from streamtag.catalog.runner import ThreadedRunner
from streamtag.inference.batch import SessionPool


def _nothing(seconds: float, size: float) -> None:
    del seconds, size


def _heard(tagger: Tagger, sounds: Sequence[AudioFile], files: int) -> dict[str, TaskResult]:
    listener = FileBatch(SessionPool(tagger, slots=files), files, "m", True, _nothing)
    return {heard[0].place: heard for heard in listener.hear(iter(sounds))}


@pytest.mark.parametrize("files", [1, 2, 3, 16])
def test_however_many_are_open_each_comes_to_what_it_is_alone(sounds: Path, tagger: Tagger, files: int) -> None:
    collection = Collection.of([str(sounds)]).sounds
    found = _heard(tagger, collection, files)
    assert len(found) == len(collection)
    for place, (entry, frames) in found.items():
        result = tagger.tag(place)
        assert frames is not None
        assert entry.means is not None
        np.testing.assert_allclose(frames, result.probs, atol=1e-5)
        np.testing.assert_allclose(entry.means, list(result.summary.values()), atol=1e-5)


def test_no_more_files_are_open_than_may_be(many: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, lock, real = 0, 0, threading.Lock(), open_source

    def opened(*arguments: Any) -> Any:
        nonlocal now, most
        source = real(*arguments)
        close = source.close

        def closed() -> None:
            nonlocal now
            with lock:
                now -= 1
            close()

        monkeypatch.setattr(source, "close", closed)
        with lock:
            now += 1
            most = max(most, now)
        return source

    monkeypatch.setattr("streamtag.catalog.file_task.open_source", opened)
    _heard(tagger, Collection.of([str(many)]).sounds[:12], 5)
    assert (now, most) == (0, 5)


def test_a_file_in_the_midst_that_fails_leaves_its_place_to_the_next(
    tmp_path: Path, sounds: Path, tagger: Tagger
) -> None:
    (tmp_path / "bad.mp3").write_bytes(b"no sound" * 100)
    good = Collection.of([str(sounds)]).sounds
    bad = Collection.of([str(tmp_path)]).sounds
    found = _heard(tagger, [*bad, *good, *bad], 2)
    assert [entry.error is None for entry, _ in found.values()].count(False) == 1
    assert len(found) == len(good) + 1


def test_a_defect_in_one_file_is_no_reason_to_leave_the_others_unheard(
    sounds: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open_source

    def opened(where: str, *rest: Any) -> Any:
        if where.endswith("a.wav"):
            raise ValueError("odd")
        return real(where, *rest)

    monkeypatch.setattr("streamtag.catalog.file_task.open_source", opened)
    found = _heard(tagger, Collection.of([str(sounds)]).sounds, 2)
    errors = {Path(place).name: entry.error for place, (entry, _) in found.items()}
    assert errors == {
        "a.wav": "cannot be decoded: ValueError: odd",
        "mono.mp3": None,
        "short.wav": None,
        "stereo.mp3": None,
    }


def test_a_crew_that_is_left_early_ends_its_threads_and_closes_its_files(many: Path, tagger: Tagger) -> None:
    sounds = Collection.of([str(many)]).sounds
    before = threading.active_count()
    with ThreadedRunner(tagger, 2, "m", False, _nothing) as crew:
        results: Iterator[TaskResult | None] = crew.hear(sounds)
        assert next(heard for heard in results if heard is not None)[0].error is None
    assert threading.active_count() == before


def test_what_breaks_in_a_thread_of_the_crew_is_raised_where_it_is_awaited(
    sounds: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ArithmeticError("the network is broken")

    monkeypatch.setattr(SessionPool, "step", broken)
    with (
        ThreadedRunner(tagger, 2, "m", False, _nothing) as crew,
        pytest.raises(ArithmeticError, match="network is broken"),
    ):
        list(crew.hear(Collection.of([str(sounds)]).sounds))


def test_the_seconds_and_bytes_that_are_told_are_those_of_the_files(sounds: Path, tagger: Tagger) -> None:
    collection, moved = Collection.of([str(sounds)]).sounds, np.zeros(2)

    def add(seconds: float, size: float) -> None:
        moved[:] += seconds, size

    listener = FileBatch(SessionPool(tagger, slots=4), 4, "m", False, add)
    seconds = sum(entry.seconds for entry, _ in listener.hear(iter(collection)))
    np.testing.assert_allclose(moved, [seconds, sum(sound.size for sound in collection)], rtol=1e-6)
