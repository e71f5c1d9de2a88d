"""What runs on the machines of a cluster: a listener on a core or GPU of its own, and a count of attempts.

A file that brings down the process that decodes it would be tried without end, and with it its whole parcel. So a
parcel that was begun several times is heard file by file, and a file that was begun so several times is left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from streamtag.catalog.file_batch import FileBatch
from streamtag.catalog.file_task import TaskResult
from streamtag.catalog.files import AudioFile
from streamtag.catalog.fingerprint import fingerprint
from streamtag.catalog.result import FileResult
from streamtag.catalog.runner import FILES
from streamtag.errors import ModelFileError

ATTEMPTS = 2  # of a parcel at once, and then of each of its files
DEADLY = "whatever reads it dies: a defect of the decoder, or too little memory"


@dataclass(frozen=True)
class Job:
    """What every actor needs to know. model: its path; model_print: the fingerprint that it must have there."""

    model: Path
    model_print: str
    device: str
    keep_frames: bool


class Count(Protocol):
    """Of what was begun, by name."""

    def begin(self, name: str) -> int:
        """It is begun now -> how often it was without coming to its end, now included."""
        ...

    def end(self, name: str) -> None:
        """It has come to its end."""
        ...


class Attempts:
    """A count in an actor of its own: it outlives those that it counts for."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, name: str) -> int:
        self._begun[name] += 1
        return self._begun[name]

    def end(self, name: str) -> None:
        del self._begun[name]


class FarAttempts:
    """The same from another actor. handle: Ray's."""

    def __init__(self, handle: Any) -> None:
        import ray

        self._handle, self._get = handle, ray.get

    def begin(self, name: str) -> int:
        return int(self._get(self._handle.begin.remote(name)))

    def end(self, name: str) -> None:
        self._get(self._handle.end.remote(name))


class Actor:
    """For Ray Data: a parcel of files in, what they came to out."""

    def __init__(self, job: Job, attempts: Any) -> None:
        """attempts: the handle of the actor. Raises StreamtagError if the model or the device is not there."""
        import torch

        from streamtag.api import load
        from streamtag.inference.batch import SessionPool

        torch.set_num_threads(1)
        tagger = load(job.model, job.device)
        if fingerprint(tagger.path) != job.model_print:
            raise ModelFileError(f"{tagger.path}: on this machine of the cluster it is another model")
        pool = SessionPool(tagger, slots=FILES)
        self._job = job
        self._listener = FileBatch(pool, FILES, job.model_print, job.keep_frames, lambda *_: None)
        self._attempts = FarAttempts(attempts)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """batch: one parcel. -> its entries as JSON, and the bytes of their frames."""
        (parcel,) = batch["parcel"].tolist()
        heard = list(heard_with_care(unpacked(parcel), self._listener, self._job.model_print, self._attempts))
        return {
            "entries": [entry.to_json() for entry, _ in heard],
            "frames": [b"" if frames is None else frames.tobytes() for _, frames in heard],
        }


def heard_with_care(
    sounds: Sequence[AudioFile], listener: FileBatch, model: str, attempts: Count
) -> Iterator[TaskResult]:
    """All at once, unless that was tried often enough: then one after the other, without those that were, too."""
    if attempts.begin(f"parcel of {sounds[0].place}") <= ATTEMPTS:
        yield from listener.hear(iter(sounds))
        return
    for sound in sounds:
        if attempts.begin(sound.place) <= ATTEMPTS:
            yield from listener.hear(iter([sound]))
            attempts.end(sound.place)
        else:
            yield replace(FileResult.of(sound, model), error=DEADLY), None


def packed(sounds: Sequence[AudioFile]) -> str:
    """As text that any name survives."""
    return json.dumps([(sound.place, sound.size, sound.mtime_ns) for sound in sounds])


def unpacked(parcel: str) -> list[AudioFile]:
    """The opposite, without what actors need not know."""
    return [AudioFile(place, place, size, mtime_ns, (0, 0)) for place, size, mtime_ns in json.loads(parcel)]
