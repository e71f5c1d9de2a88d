"""One file on its way: opened, decoded as its session needs it, and what its frames come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
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

SPEC = SourceSpec(chunk_s=1.0)  # s; the largest: nobody waits for the first frame

TaskResult = tuple[FileResult, NDArray[np.float32] | None]  # the frames [n, tags] if they are kept
OnProgress = Callable[[float, float], None]  # so many seconds more were heard, which is about so many bytes


class FileTask(Closing):
    """Owned by one thread. A file that fails, even in the middle, ends where it failed."""

    def __init__(
        self, sound: AudioFile, session: PooledSession, model: str, keep_frames: bool, moved: OnProgress
    ) -> None:
        self._entry = FileResult.of(sound, model)
        self._session = session
        self._moved = moved
        self._kept: list[NDArray[np.float32]] | None = [] if keep_frames else None
        self._sums: NDArray[np.float64] | None = None
        self._frames = 0
        self._bytes = 0.0  # of the file, about, that were told as done
        self._error: str | None = None
        self._resources = ExitStack()
        self._source: Source | None = None
        self._chunks: Iterator[NDArray[np.float32]] = iter(())
        self._rate = 0.0  # bytes a second
        try:
            self._source = self._resources.enter_context(open_source(sound.place, SPEC))
            self._chunks = iter(self._source)
            self._rate = sound.size / (self._source.info.duration_s or math.inf)
        except Exception as error:
            self._fail(error)

    def fill(self) -> None:
        """Decodes until a hop is ready, or the file has come to its end."""
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
            more = min(seconds * self._rate, self._entry.size - self._bytes)
            self._bytes += more
            self._moved(seconds, more)

    def take(self, frames: Sequence[TagFrame]) -> None:
        """The next frames of this file."""
        for frame in frames:
            self._sums = frame.probs + (np.float64(0) if self._sums is None else self._sums)
            if self._kept is not None:
                self._kept.append(frame.probs.copy())
        self._frames += len(frames)

    @property
    def done(self) -> bool:
        return self._session.is_finished

    def close(self) -> None:
        """Gives the file and the session's slot back."""
        self._resources.close()
        self._session.remove()

    def heard(self) -> TaskResult:
        """What it came to, when it is done."""
        self._moved(0.0, self._entry.size - self._bytes)
        entry = replace(
            self._entry,
            seconds=self._session.seconds,
            frames=self._frames,
            means=None if self._sums is None else (self._sums / self._frames).astype(np.float32),
            warnings="; ".join(self._source.warnings) if self._source else "",
            error=self._error,
        )
        if self._kept is None:
            return entry, None
        return entry, np.stack(self._kept) if self._kept else np.zeros((0, 0), np.float32)

    def _fail(self, error: Exception) -> None:
        """A SourceError tells what is wrong; anything else is a defect, but no reason to leave the others unheard."""
        reason = str(error) if isinstance(error, SourceError) else f"cannot be decoded: {type(error).__name__}: {error}"
        self._error = reason.removeprefix(f"{Address.of(self._entry.place).label}: ")
        self._session.flush()
