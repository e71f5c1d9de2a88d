"""One file being tagged: opened, and decoded as its session needs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.decoder import Source, SourceSpec, open_source
from streamtag.audio.files import Address
from streamtag.audio.resample import SAMPLE_RATE
from streamtag.audio.source import Closing
from streamtag.catalog.files import AudioFile
from streamtag.catalog.result import FileResult
from streamtag.errors import SourceError
from streamtag.inference.frame import TagFrame

if TYPE_CHECKING:
    from streamtag.inference.batch import PooledSession
    from streamtag.inference.events import EventDetectorBank

SPEC = SourceSpec(chunk_s=1.0)  # the largest: nobody waits for the first frame

TaskResult = tuple[FileResult, NDArray[np.float32] | None]  # with the frames [n, tags] if they are kept
OnProgress = Callable[[float, float], None]  # seconds of audio since the last call, and about as many bytes


@dataclass(frozen=True)
class TaskConfig:
    """How files are tagged. model: the fingerprint for the results. on_progress: called by every thread."""

    model: str
    keep_frames: bool
    on_progress: OnProgress
    open_file: Callable[[str, SourceSpec], Source] = open_source


class FileTask(Closing):
    """Owned by one thread. A file that fails, even in the middle, ends where it failed."""

    def __init__(self, file: AudioFile, session: PooledSession, bank: EventDetectorBank, config: TaskConfig) -> None:
        """bank: knows the means of the frames and the lengths of events; has a free row for this file."""
        self._result = FileResult.of(file, config.model)
        self._session = session
        self._bank = bank
        self.row = bank.add()
        self._on_progress = config.on_progress
        self._kept: list[NDArray[np.float32]] | None = [] if config.keep_frames else None
        self._bytes = 0.0  # of the file, about, that were reported as done
        self._error: str | None = None
        self._resources = ExitStack()
        self._source: Source | None = None
        self._chunks: Iterator[NDArray[np.float32]] = iter(())
        self._bytes_per_s = 0.0
        try:
            self._source = self._resources.enter_context(config.open_file(file.abspath, SPEC))
            self._chunks = iter(self._source)
            self._bytes_per_s = file.size / (self._source.info.duration_s or math.inf)
        except Exception as error:
            self._fail(error)

    def decode(self) -> None:
        """Decode until a hop is ready or the file ends."""
        while not (self._session.ready_hops or self._session.is_finished):
            try:
                chunk = next(self._chunks, None)
            except Exception as error:
                self._fail(error)
                return
            if chunk is None:
                self._session.flush()
                return
            self._session.feed(chunk)
            seconds = len(chunk) / SAMPLE_RATE
            size = min(seconds * self._bytes_per_s, self._result.size - self._bytes)
            self._bytes += size
            self._on_progress(seconds, size)

    def keep(self, frame: TagFrame) -> None:
        """Keep the next frame of this file, if frames are kept."""
        if self._kept is not None:
            self._kept.append(frame.probs.copy())

    @property
    def is_finished(self) -> bool:
        return self._session.is_finished

    def close(self) -> None:
        """Close the file and free the session's slot and the bank's row."""
        self._resources.close()
        self._session.remove()
        self._bank.remove(self.row)

    def result(self) -> TaskResult:
        """Return the result once the task is done."""
        self._on_progress(0.0, self._result.size - self._bytes)
        seconds, frames = self._session.seconds, self._bank.frames(self.row)
        means, concept_means = (np.array([*each.values()], np.float32) for each in self._bank.summaries(self.row))
        present_s = self._bank.present_s(self.row, seconds).astype(np.float32)
        result = replace(
            self._result,
            seconds=seconds,
            frames=frames,
            means=means if frames else None,
            concept_means=concept_means if frames else None,
            present_s=present_s if frames else None,
            warnings="; ".join(self._source.warnings) if self._source else "",
            error=self._error,
        )
        if self._kept is None:
            return result, None
        return result, np.stack(self._kept) if self._kept else np.zeros((0, 0), np.float32)

    def _fail(self, error: Exception) -> None:
        """Any error but SourceError is a defect, which must not stop the other files either."""
        reason = str(error) if isinstance(error, SourceError) else f"cannot be decoded: {type(error).__name__}: {error}"
        self._error = reason.removeprefix(f"{Address.of(self._result.abspath).label}: ")
        self._session.flush()
