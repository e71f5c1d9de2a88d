"""A scheduler whose clock and work are controlled by a test, and producers, networks and logs for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Condition, Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamtag.api import Tagger, load
from streamtag.audio.pcm import PcmFormat
from streamtag.audio.resample import Resampler
from streamtag.inference.batch import PooledSession, SessionPool, SessionState
from streamtag.inference.frame import TagFrame
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Error, Frame, Gap, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.producer_handle import ProducerHandle
from streamtag.scheduler.scheduler import Scheduler
from streamtag.scheduler.stats import Observer

HOP, RATE = 4096, 16000
PLAIN = PcmFormat(RATE, "f32le", 1)
ODD = PcmFormat(44100, "f32le", 2)  # needs a resampler, and has a grid of its own
TIMEOUT_S = 30.0  # for what should happen at once
TOLERANCE = 1e-4

Sound = NDArray[np.float32]


@lru_cache(maxsize=2)
def load_tagger(model: Path) -> Tagger:
    """Load a model once for all tests."""
    return load(model, "cpu")


class FakeClock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class MessageLog:
    """Record all messages; any thread may publish them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._changed = Condition()

    def __call__(self, messages: Sequence[Message]) -> None:
        with self._changed:
            self.messages += messages
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, TIMEOUT_S)

    def of(self, name: str) -> list[Message]:
        with self._changed:
            return [message for message in self.messages if getattr(message, "stream", None) == name]

    def frames(self, name: str) -> list[Frame]:
        return [message for message in self.of(name) if isinstance(message, Frame)]

    def gaps(self, name: str) -> list[Gap]:
        return [message for message in self.of(name) if isinstance(message, Gap)]

    def ends(self, name: str) -> list[End]:
        return [message for message in self.of(name) if isinstance(message, End)]

    def errors(self, name: str) -> list[Error]:
        return [message for message in self.of(name) if isinstance(message, Error)]


class EchoNetwork:
    """A network that returns the first and the last sample of a hop as probabilities, and zeros.

    So every frame shows which audio it was made of: frame k's hop begins half a hop after its centre.
    """

    row_bytes = 0

    def __init__(self, tags: int, before_step: Callable[[int], None] | None = None) -> None:
        """before_step: called with the number of streams, for a step that takes time or fails."""
        self._tags = tags
        self._before_step = before_step
        self.steps: list[int] = []

    def step(self, audio: Sound, rows: NDArray[np.int64]) -> Sound:
        assert len(set(rows.tolist())) == len(rows)
        if self._before_step is not None:
            self._before_step(len(rows))
        self.steps.append(len(rows))
        probs = np.zeros((len(audio), self._tags), np.float32)
        probs[:, 0], probs[:, 1] = audio[:, 0], audio[:, -1]
        return probs

    def reset(self, rows: NDArray[np.int64]) -> None: ...

    def reset_context(self, rows: NDArray[np.int64]) -> None: ...

    def save_row(self, row: int) -> dict[str, NDArray[Any]]:
        return {"scattering.echo": np.full(3, row, np.float32)}

    def load_row(self, row: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        assert row >= 0
        assert arrays.keys() == {"scattering.echo"}


class EchoPool(SessionPool):
    """A pool with an EchoNetwork. fails_to_add: raise for the next stream."""

    def __init__(self, tagger: Tagger, slots: int, before_step: Callable[[int], None] | None = None) -> None:
        super().__init__(tagger, slots)
        self.echo = EchoNetwork(len(tagger.tags), before_step)
        self.fails_to_add = False
        self._network = self.echo

    def add(self, state: SessionState | None = None) -> PooledSession:
        if self.fails_to_add:
            self.fails_to_add = False
            raise RuntimeError("broken")
        return super().add(state)


class Harness:
    """A scheduler without threads. notified: names of the producers that were called back."""

    def __init__(
        self,
        model: Path,
        slots: int = 8,
        echo: bool = True,
        config: SchedulerConfig | None = None,
        clock: FakeClock | None = None,
        fingerprint: str = "model",
        before_step: Callable[[int], None] | None = None,
        observer: Observer | None = None,
    ) -> None:
        """echo: use an EchoNetwork, whose steps call before_step, in place of the model's."""
        self.clock, self.log = clock or FakeClock(), MessageLog()
        self.tagger = load_tagger(model)
        self.pool = EchoPool(self.tagger, slots, before_step) if echo else SessionPool(self.tagger, slots)
        self.scheduler = Scheduler(
            self.pool,
            self.log,
            config or SchedulerConfig(batch_window_s=0.0, max_streams=slots),
            fingerprint,
            observer,
            self.clock,
        )
        self.notified: list[str] = []

    @property
    def steps(self) -> list[int]:
        """The number of streams of each step."""
        assert isinstance(self.pool, EchoPool)
        return self.pool.echo.steps

    def open(self, name: str, format: PcmFormat = PLAIN, position: int | None = None) -> ProducerHandle:
        return self.scheduler.open(name, format, position, lambda: self.notified.append(name))

    def run_one(self) -> bool:
        """Do one task of a worker and return whether there was one."""
        return self.scheduler.run_next()

    def run_all(self) -> None:
        """Do all that there is to do now."""
        for _ in range(100_000):
            if not self.run_one():
                return
        raise AssertionError("the work does not end")

    def end(self, name: str, producer: ProducerHandle) -> None:
        producer.end()
        self.run_all()
        assert producer.has_ended
        assert len(self.log.ends(name)) == 1


def noise(samples: int, seed: int = 0) -> Sound:
    """Return noise [samples] in which no two samples are alike, nor those of two seeds."""
    return np.random.default_rng(seed).uniform(0.01, 0.9, samples).astype(np.float32)


def music(seconds: float, format: PcmFormat, seed: int = 0) -> bytes:
    """Return noise in which tags come and go."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * format.rate)
    envelope = np.interp(np.arange(samples), np.linspace(0, samples, 9), rng.uniform(0, 0.5, 9))
    sound = rng.standard_normal((samples, format.channels)) * envelope[:, None]
    if format.encoding == "s16le":
        return (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
    return sound.astype("<f4").tobytes()


def resampled(format: PcmFormat, data: bytes) -> Sound:
    resampler = Resampler(format.rate)
    return np.concatenate([resampler.feed(format.decode(data)), resampler.flush()])


def reference_frames(tagger: Tagger, format: PcmFormat, data: bytes) -> list[TagFrame]:
    """Return what a single session makes of the audio."""
    session = Session(tagger)
    return session.feed(resampled(format, data)) + session.flush()


def assert_equal_frames(actual: Sequence[Frame], expected: Sequence[TagFrame], tolerance: float = TOLERANCE) -> None:
    """The same frames at the same times, with the same probabilities."""
    assert [(f.frame, f.start, f.end) for f in actual] == [(f.index, f.start, f.end) for f in expected]
    for frame, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(list(frame.tags.values()), other.probs, atol=tolerance)


def shows(frame: Frame, sound: Sound) -> bool:
    """Return whether an echo is of its stream's sound [n], at its place."""
    first = frame.frame * HOP + HOP // 2
    padded = np.concatenate([sound, np.zeros(2 * HOP, np.float32)])
    echo = list(frame.tags.values())[:2]
    return bool(np.allclose(echo, (padded[first], padded[first + HOP - 1]), atol=1e-6))


def unexplained(frames: Sequence[Frame], gaps: Sequence[Gap], seconds: float) -> list[int]:
    """Return the frames of a stream of so many seconds that are missing and not covered by a gap."""
    numbers = {frame.frame for frame in frames}
    centres = {k: k * HOP / RATE for k in range(int(np.ceil(seconds * RATE / HOP - 1e-9)))}
    return [
        k
        for k, centre in centres.items()
        if k not in numbers and not any(gap.start - 1e-6 <= centre < gap.start + gap.lost_s + 1e-6 for gap in gaps)
    ]


class Signal:
    """Set when a producer is called back."""

    def __init__(self) -> None:
        self._event = Event()

    def __call__(self) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(TIMEOUT_S)
        self._event.clear()

    def wait_for_end(self, producer: ProducerHandle) -> None:
        while not producer.has_ended:
            self.wait()


def exported(harness: Harness, name: str) -> bytes:
    future = harness.scheduler.export_state(name)
    harness.run_all()
    return future.result(0)


def imported(harness: Harness, name: str, data: bytes) -> int:
    future = harness.scheduler.import_state(name, data)
    harness.run_all()
    return future.result(0)


def exported_state(model: Path, format: PcmFormat = ODD, echo: bool = False) -> bytes:
    harness = Harness(model, echo=echo)
    if echo:
        harness.open("mic").push(noise(20_000).tobytes())
    else:
        harness.open("mic", format).push(music(1.23, format, 1))
    harness.run_all()
    return exported(harness, "mic")
