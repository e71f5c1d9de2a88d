"""What the tests of live sources share: reading events until they are enough, and looking at them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamtag.audio.microphone import MicrophoneLimits
from streamtag.audio.source import AudioChunk, AudioGap, AudioSource, CaptureEvent, SourceNotice

TIMEOUT_S = 30.0
RATE = 48000
QUICK = MicrophoneLimits(
    start_timeout_s=0.3, block_timeout_s=0.2, digital_silence_s=0.3, first_retry_s=0.02, max_tap_silence_s=0.25
)


class FakeWait:
    """Waits by noting how long it should have waited."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def __call__(self, closed: threading.Event, seconds: float) -> bool:
        self.delays.append(seconds)
        return closed.is_set()


def read_until(source: AudioSource, enough: Callable[[list[CaptureEvent]], object]) -> list[CaptureEvent]:
    """Events, without empty chunks, until they are enough or the source ends."""
    events: list[CaptureEvent] = []
    deadline = time.monotonic() + TIMEOUT_S
    while not enough(events):
        assert time.monotonic() < deadline, notices_of(events)
        event = source.read(0.02)
        if event is None:
            break
        if not isinstance(event, AudioChunk) or len(event.samples):
            events.append(event)
    return events


def read_all(source: AudioSource) -> list[CaptureEvent]:
    return read_until(source, lambda _: False)


def samples_of(events: Sequence[CaptureEvent]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *(e.samples for e in events if isinstance(e, AudioChunk))])


def notices_of(events: Sequence[CaptureEvent]) -> list[SourceNotice]:
    return [event for event in events if isinstance(event, SourceNotice)]


def gaps_of(events: Sequence[CaptureEvent]) -> list[int]:
    """Their lengths in samples."""
    return [event.samples for event in events if isinstance(event, AudioGap)]


def has_recovered(events: Sequence[CaptureEvent]) -> bool:
    return any(not notice.is_problem for notice in notices_of(events))


def noise(seconds: float, rate: int, channels: int, seed: int = 0) -> NDArray[np.float32]:
    """[n, channels]"""
    random = np.random.default_rng(seed)
    return (0.2 * random.standard_normal((round(seconds * rate), channels))).astype(np.float32)
