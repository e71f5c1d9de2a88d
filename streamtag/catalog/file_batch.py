"""Many files at once through one batch, by one thread: it decodes them, and steps them together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streamtag.catalog.file_task import FileTask, OnProgress, TaskResult
from streamtag.catalog.files import AudioFile

if TYPE_CHECKING:
    from streamtag.inference.batch import PooledSession, SessionPool


class FileBatch:
    """Keeps so many files open; where one ends the next begins, so that the batch stays full to the end.

    Decoding needs a fifth of the time, so it is done by the thread that steps: nothing is handed over or waits.
    """

    def __init__(self, pool: SessionPool, files: int, model: str, keep_frames: bool, moved: OnProgress) -> None:
        """pool: shared with other listeners, with slots for all of them. model: the fingerprint that entries get."""
        self._pool = pool
        self._files = files
        self._model = model
        self._keep_frames = keep_frames
        self._moved = moved

    def hear(self, sounds: Iterator[AudioFile]) -> Iterator[TaskResult]:
        """Each file once, whichever ends first. Closing the iterator closes the files."""
        readings: dict[PooledSession, FileTask] = {}
        try:
            while True:
                while len(readings) < self._files and (sound := next(sounds, None)) is not None:
                    session = self._pool.add()
                    readings[session] = FileTask(sound, session, self._model, self._keep_frames, self._moved)
                if not readings:
                    return
                for reading in readings.values():
                    reading.fill()
                for session, frames in self._pool.step(readings):
                    readings[session].take(frames)
                for session in [session for session, reading in readings.items() if reading.done]:
                    with readings.pop(session) as reading:
                        heard = reading.heard()
                    yield heard
        finally:
            for reading in readings.values():
                reading.close()
