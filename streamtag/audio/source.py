"""What a live audio source returns: chunks of audio, gaps and notices; and the read loop that all of them share.

A microphone, a web stream and a pipe of samples are such sources. They end only where their input does, and report
lost audio with its length, in its place.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

NO_SAMPLES = np.zeros(0, np.float32)
NO_SAMPLES.flags.writeable = False


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """samples [n], n >= 0, float32 mono at 16 kHz, finite.

    arrival_time: when the newest of them arrived, on time.monotonic(). peak: the largest absolute value in all
    channels of the input (1 = full scale).
    """

    samples: NDArray[np.float32]
    arrival_time: float
    peak: float = 0.0


@dataclass(frozen=True, slots=True)
class AudioGap:
    """Audio that is missing here. samples: its length at 16 kHz, more than 0."""

    samples: int


@dataclass(frozen=True, slots=True)
class SourceNotice:
    """One line for people about the state of the source. is_problem: audio is missing until further notice."""

    text: str
    is_problem: bool = True


CaptureEvent = AudioChunk | AudioGap | SourceNotice


class Closing(ABC):
    """A context manager that closes itself."""

    @abstractmethod
    def close(self) -> None:
        """Release everything. May be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AudioSource(Closing):
    """A live source, owned by the thread that reads it. A subclass says in `_poll` what there is, and in `close`.

    name: of its stream in messages: "mic", "stdin", the last part of a URL. description: the device or address with its
    rate and channels, for people; it may change when the source reconnects. latency_s: the time from sound to
    `arrival_time` that the source itself adds, s, as far as it is known.
    """

    def __init__(self, name: str, description: str) -> None:
        self.name = name
        self.description = description
        self.latency_s = 0.0
        self._has_ended = False
        self._queue: deque[CaptureEvent] = deque()  # that were not read yet

    @property
    def xruns(self) -> int:
        """How often audio was lost before it could be read."""
        return 0

    def read(self, timeout_s: float) -> CaptureEvent | None:
        """Return the next event in order of time, or None at the end.

        If there is none within timeout_s, return an AudioChunk without samples. Raises SourceError if the source
        cannot be used at all: no such device, not audio.
        """
        deadline = time.monotonic() + timeout_s
        while not self._queue:
            if self._has_ended:
                return None
            remaining = deadline - time.monotonic()
            self._queue.extend(self._poll(max(0.0, remaining)))
            if remaining <= 0 and not self._queue and not self._has_ended:
                return AudioChunk(NO_SAMPLES, time.monotonic())
        return self._queue.popleft()

    @abstractmethod
    def _poll(self, timeout_s: float) -> list[CaptureEvent]:
        """Return the events that there are now; wait for them no longer than timeout_s. Raises SourceError."""
