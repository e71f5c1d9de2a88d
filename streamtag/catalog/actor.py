"""The code that runs on the machines of a cluster: an actor per core or GPU, and a counter of attempts.

A file that crashes the process that decodes it would be tried without end, and with it its whole shard. So a shard
that was begun several times is tagged file by file, and a file that was begun several times is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamtag.catalog.file_task import TaskConfig, TaskResult
from streamtag.catalog.files import AudioFile
from streamtag.catalog.result import FINGERPRINT_DIGITS, FileResult
from streamtag.catalog.runner import MAX_OPEN_FILES, FileBatch
from streamtag.errors import ModelFileError

if TYPE_CHECKING:
    from streamtag.inference.session import HasNetwork

MAX_ATTEMPTS = 2  # at a shard, and then at each of its files
CRASHES_READER = "whatever reads it dies: a defect of the decoder, or too little memory"


@dataclass(frozen=True)
class Job:
    """What every actor needs. load: returns the tagger of a model file on a device. model: path of the file.

    fingerprint: the first digits of the one that the model must have on every machine.
    """

    load: Callable[[Path, str], HasNetwork]
    model: Path
    fingerprint: str
    device: str
    keep_frames: bool


class AttemptCounter:
    """A counter of attempts by name. In an actor of its own it outlives those whose attempts it counts."""

    def __init__(self) -> None:
        self._attempts: Counter[str] = Counter()

    def begin(self, name: str) -> int:
        """Count an attempt, and return the number of attempts that have not ended, including this one."""
        self._attempts[name] += 1
        return self._attempts[name]

    def end(self, name: str) -> None:
        """Forget the attempts."""
        del self._attempts[name]


class Actor:
    """A process of a cluster, which tags shards of files."""

    def __init__(self, job: Job, attempts: Any) -> None:
        """attempts: Ray's handle of the counter. Raises StreamtagError if the model or the device is missing."""
        from streamtag.inference.batch import SessionPool
        from streamtag.model.batched import torch_threads
        from streamtag.model.model_file import fingerprint

        self._one_thread = ExitStack()  # for as long as the actor lives
        self._one_thread.enter_context(torch_threads(1))
        tagger = job.load(job.model, job.device)
        if fingerprint(job.model)[:FINGERPRINT_DIGITS] != job.fingerprint:
            raise ModelFileError(f"{job.model}: on this machine of the cluster it is another model")
        pool = SessionPool(tagger, slots=MAX_OPEN_FILES)
        self._fingerprint = job.fingerprint
        self._batch = FileBatch(pool, MAX_OPEN_FILES, TaskConfig(job.fingerprint, job.keep_frames, lambda *_: None))
        self._begin, self._end = _remote(attempts.begin), _remote(attempts.end)

    def tag(self, shard: Sequence[AudioFile]) -> list[TaskResult]:
        """Return the results of one shard."""
        return list(tag_with_retry(shard, self._batch, self._fingerprint, self._begin, self._end))


def tag_with_retry(
    files: Sequence[AudioFile], batch: FileBatch, model: str, begin: Callable[[str], int], end: Callable[[str], object]
) -> Iterator[TaskResult]:
    """Tag all files at once; after too many attempts one by one, without those that had too many themselves.

    begin, end: of an AttemptCounter.
    """
    if begin(f"shard of {files[0].abspath}") <= MAX_ATTEMPTS:
        yield from batch.run(iter(files))
        return
    for file in files:
        if begin(file.abspath) <= MAX_ATTEMPTS:
            yield from batch.run(iter([file]))
            end(file.abspath)
        else:
            yield replace(FileResult.of(file, model), error=CRASHES_READER), None


def _remote(method: Any) -> Callable[[str], Any]:
    """Return a function that calls a method of another actor, by Ray's handle of it, and waits for the answer."""
    import ray

    return lambda name: ray.get(method.remote(name))
