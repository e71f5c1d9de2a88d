"""Endless sound as it happens, in pieces: what a microphone, a radio stream or a pipe of samples gives.

A capture never ends by itself unless its source does. What was lost is told, with its length, in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """samples [n], n >= 0, float32 mono at 16 kHz. arrival_time: when the newest of them came, on time.monotonic().

    peak: the largest absolute value among the samples of all channels as the device gave them (1 = full scale).
    """

    samples: NDArray[np.float32]
    arrival_time: float
    peak: float = 0.0


@dataclass(frozen=True, slots=True)
class AudioGap:
    """Sound of this length is missing here: samples at 16 kHz, more than 0."""

    samples: int


@dataclass(frozen=True, slots=True)
class SourceNotice:
    """A line for people: what happened to the source, and what is done about it. is_problem: sound is missing now."""

    text: str
    is_problem: bool = True


CaptureEvent = AudioChunk | AudioGap | SourceNotice


class AudioSource(Protocol):
    """Owned by the thread that takes; a context manager that closes the source."""

    @property
    def name(self) -> str:
        """Names the stream in messages: "mic", "stdin", the address's last part."""

    @property
    def description(self) -> str:
        """For people: the device or address, its rate and channels; may change when the source comes back."""

    @property
    def xruns(self) -> int:
        """How often sound was lost on the way so far."""

    @property
    def latency_s(self) -> float:
        """What the source itself adds between sound and `arrival_time`, s, as far as it tells."""

    def read(self, timeout_s: float) -> CaptureEvent | None:
        """The next piece, in order of time: an AudioChunk of no samples if nothing came for timeout_s; None at the end.

        Raises SourceError if the source is of no use from the start (no such device, not audio).
        """

    def close(self) -> None: ...


class Closing(ABC):
    """A context manager that closes itself."""

    @abstractmethod
    def close(self) -> None:
        """May be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
