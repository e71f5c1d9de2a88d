"""Shards of files, and a shard that crashes its reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtag.api import Tagger
from streamtag.catalog.actor import (
    CRASHES_READER,
    AttemptCounter,
    tag_with_retry,
)
from streamtag.catalog.cluster import MAX_SHARD_FILES, MIN_SHARDS_PER_ACTOR, make_shards
from streamtag.catalog.file_task import TaskConfig, TaskResult
from streamtag.catalog.files import AudioFile, Collection
from streamtag.catalog.result import FileResult
from streamtag.catalog.runner import FileBatch
from streamtag.inference.batch import SessionPool


class Crash(BaseException):
    """Stands for the end of the process."""


class CrashingBatch(FileBatch):
    def __init__(self, pool: SessionPool, abspath: str) -> None:
        super().__init__(pool, 4, TaskConfig("m", False, lambda *_: None))
        self._abspath = abspath

    def run(self, files: Iterator[AudioFile]) -> Iterator[TaskResult]:
        def checked() -> Iterator[AudioFile]:
            for file in files:
                if file.abspath == self._abspath:
                    raise Crash
                yield file

        return super().run(checked())


def test_a_file_that_crashes_its_reader_costs_no_other_file(sounds: Path, tagger: Tagger) -> None:
    shard = Collection.find([str(sounds)]).files
    batch, attempts = CrashingBatch(SessionPool(tagger, slots=4), shard[1].abspath), AttemptCounter()
    crashes, results = 0, list[FileResult]()
    while not results:
        try:
            results = [result for result, _ in tag_with_retry(shard, batch, "m", attempts.begin, attempts.end)]
        except Crash:
            crashes += 1
    assert crashes == 4  # twice as a shard, twice alone
    assert [(result.abspath, result.error) for result in results] == [
        (file.abspath, CRASHES_READER if file is shard[1] else None) for file in shard
    ]


def test_a_shard_whose_actor_was_killed_is_tagged_again(sounds: Path, tagger: Tagger) -> None:
    shard = Collection.find([str(sounds)]).files
    batch, attempts = CrashingBatch(SessionPool(tagger, slots=4), "none of them"), AttemptCounter()
    attempts.begin(f"shard of {shard[0].abspath}")  # by an actor that was killed
    results = list(tag_with_retry(shard, batch, "m", attempts.begin, attempts.end))
    assert sorted(result.abspath for result, _ in results) == sorted(file.abspath for file in shard)
    assert not any(result.error for result, _ in results)


@pytest.mark.parametrize(("count", "actors"), [(1, 2), (7, 2), (100, 2), (1000, 3), (5000, 1)])
def test_every_file_is_in_one_shard_and_shards_are_alike(count: int, actors: int) -> None:
    files = [AudioFile(str(n), str(n), n * n, 0, (0, n)) for n in range(count)]
    shards = make_shards(files, actors)
    assert sorted(int(file.abspath) for shard in shards for file in shard) == list(range(count))
    assert len(shards) >= min(count, MIN_SHARDS_PER_ACTOR * actors)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert max(map(len, shards)) <= MAX_SHARD_FILES
