"""Listeners in threads of this process, one a core, which share one model and one pool."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from streamtag.audio.source import Closing
from streamtag.catalog.file_batch import FileBatch
from streamtag.catalog.file_task import OnProgress, TaskResult
from streamtag.catalog.files import AudioFile
from streamtag.inference.batch import SessionPool
from streamtag.text import usable_cores

if TYPE_CHECKING:
    from streamtag.api import Tagger

FILES = 32  # open at a time for each listener: a hop then costs little more than in a batch without end
GPU_LISTENERS = 8  # that decode for one GPU
WAIT_S = 0.2  # s; how often whoever waits looks around
DEPTH = 64  # results on their way to the journal


def listeners(device: str) -> int:
    """As many as there are cores for this process."""
    cores = usable_cores()
    return cores if device == "cpu" else min(cores, GPU_LISTENERS)


class ThreadedRunner(Closing):
    """Hears sounds, the largest first, so that no long one is left alone at the end. Used once."""

    def __init__(self, tagger: Tagger, size: int, model: str, keep_frames: bool, moved: OnProgress) -> None:
        """size: of the crew. model: the fingerprint that entries get. moved: called by all its threads."""
        pool = SessionPool(tagger, slots=size * FILES)
        self._crew = [FileBatch(pool, FILES, model, keep_frames, moved) for _ in range(size)]
        self._results: queue.Queue[TaskResult | Exception | None] = queue.Queue(DEPTH)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._torch_threads = torch.get_num_threads()

    def hear(self, sounds: Sequence[AudioFile]) -> Iterator[TaskResult | None]:
        """What each came to, as it is there; None now and then, so that the taker can look after other things."""
        torch.set_num_threads(1)  # several would only disturb each other
        work = Work(sounds)
        for number, listener in enumerate(self._crew):
            thread = threading.Thread(target=self._run, args=(listener, work), name=f"streamtag-catalog-{number}")
            self._threads.append(thread)
            thread.start()
        busy = len(self._threads)
        while busy:
            try:
                result = self._results.get(timeout=WAIT_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(result, Exception):
                raise result
            if result is None:
                busy -= 1
            else:
                yield result

    def close(self) -> None:
        """Ends the threads, each after its step; what they have not finished is lost."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        torch.set_num_threads(self._torch_threads)

    def _run(self, listener: FileBatch, work: Work) -> None:
        end: Exception | None = None
        try:
            for heard in listener.hear(work):
                if not self._put(heard):
                    return
        except Exception as error:  # raised again by hear
            end = error
        self._put(end)

    def _put(self, item: TaskResult | Exception | None) -> bool:
        """Whether anyone still wants it."""
        while not self._stop.is_set():
            try:
                self._results.put(item, timeout=WAIT_S)
            except queue.Full:
                continue
            return True
        return False


class Work:
    """Sounds, each given to whichever thread asks first: the largest ones first."""

    def __init__(self, sounds: Sequence[AudioFile]) -> None:
        self._lock = threading.Lock()
        self._sounds = iter(largest_first(sounds))

    def __iter__(self) -> Iterator[AudioFile]:
        return self

    def __next__(self) -> AudioFile:
        with self._lock:
            return next(self._sounds)


def largest_first(sounds: Sequence[AudioFile]) -> list[AudioFile]:
    return sorted(sounds, key=lambda sound: sound.size, reverse=True)
