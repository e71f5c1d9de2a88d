"""A session that uses two cores: the front end of a block beside the recurrent layers of the block before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamtag.audio.source import Closing
from streamtag.inference.frame import TagFrame
from streamtag.inference.session import HasNetwork, Session
from streamtag.model.batched import torch_threads

MAX_BLOCKS_AHEAD = 2  # of the front end before the recurrent layers, which bounds the memory


class OverlappedSession(Session, Closing):
    """A session whose recurrent layers work in a thread of their own.

    It has the frames of `Session`, but some come one call later.

    For blocks of a second or more: a hop would gain nothing. Until it is closed torch computes an operation in one
    thread, since several would wait for each other, busily, whenever one of them has no core.
    """

    def __init__(self, tagger: HasNetwork, start_s: float = 0.0) -> None:
        """start_s: as Session has it."""
        self._hidden: Any = None  # owned by the thread
        self._pending: deque[Future[torch.Tensor]] = deque()
        self._one_thread = ExitStack()
        self._one_thread.enter_context(torch_threads(1))
        self._thread = ThreadPoolExecutor(1, "streamtag-gru")
        super().__init__(tagger, start_s)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._one_thread.close()

    def reset(self) -> None:
        self._await_pending()
        self._hidden = None
        super().reset()

    def reset_context(self) -> None:
        self._thread.submit(self._forget)

    def _step(self, audio: NDArray[np.float32]) -> list[TagFrame]:
        done: list[TagFrame] = []
        with torch.inference_mode():
            for batch in self._batches(audio):
                if self._state is None:
                    self._state = self._network.front_end.initial_state(1)
                frames, self._state = self._network.front_end.step(batch, self._state)
                self._submit(frames)
                done += self._completed(MAX_BLOCKS_AHEAD)
        return done

    def _end(self) -> list[TagFrame]:
        with torch.inference_mode():
            frames, self._state = self._network.front_end.flush(self._state)
        self._submit(frames)
        return self._await_pending()

    def _await_pending(self) -> list[TagFrame]:
        return self._completed(0)

    def _submit(self, frames: torch.Tensor) -> None:
        """Have the thread tag the frames [1, f, paths]."""
        if frames.shape[1]:
            self._pending.append(self._thread.submit(self._tag, frames))

    def _completed(self, max_pending: int) -> list[TagFrame]:
        """Return the frames that are ready, in order, after waiting until at most so many blocks are not."""
        frames: list[TagFrame] = []
        while self._pending and (len(self._pending) > max_pending or self._pending[0].done()):
            frames += self._number(self._pending.popleft().result())
        return frames

    def _tag(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the probabilities [1, f, tags] of the next frames. Runs in the thread."""
        with torch.inference_mode():
            if self._hidden is None:
                self._hidden = self._network.recurrent.initial_state(1)
            probs, self._hidden = self._network.tag(frames, self._hidden)
        return probs

    def _forget(self) -> None:
        """Reset the recurrent state. Runs in the thread."""
        self._hidden = None


@contextmanager
def open_file_session(tagger: HasNetwork, start_s: float = 0.0) -> Iterator[Session]:
    """Yield the session that is the fastest for a whole file. start_s: as Session has it.

    It takes two cores where torch may use several threads, as it may unless OMP_NUM_THREADS or the like says otherwise.
    """
    if tagger.network.head.weight.device.type == "cpu" and torch.get_num_threads() > 1:
        with OverlappedSession(tagger, start_s) as session:
            yield session
    else:
        yield Session(tagger, start_s)
