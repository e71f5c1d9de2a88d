"""An engine on the bench: its clock is set by hand, its work is done when the test says so, and what it hears shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Condition, Event

import numpy as np
from numpy.typing import NDArray

from streamtag.api import Tagger, load
from streamtag.audio.resample import Resampler
from streamtag.inference.batch import SessionPool
from streamtag.inference.frame import TagFrame
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Error, Frame, Gap, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.scheduler import ProducerHandle, Scheduler

HOP, RATE = 4096, 16000
PLAIN = PcmFormat(RATE, "f32le", 1)
ODD = PcmFormat(44100, "f32le", 2)  # that needs a resampler, and has a grid of its own
PATIENCE_S = 30.0  # of a test that waits for something that should happen at once
CLOSE = 1e-4

Sound = NDArray[np.float32]


@lru_cache(maxsize=2)
def loaded(model: Path) -> Tagger:
    """Once for all tests."""
    return load(model, "cpu")


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ears:
    """Hears all messages; any thread may tell them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._changed = Condition()

    def __call__(self, messages: Sequence[Message]) -> None:
        with self._changed:
            self.messages += messages
            self._changed.notify_all()

    def wait(self, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE_S)

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


class Echo:
    """In the place of a network: the probabilities of a hop are its first and its last sample, and zeros.

    So every frame shows which sound it was made of: frame k's hop begins half a hop behind its centre.
    """

    def __init__(self, tags: int, before: Callable[[int], None] | None = None) -> None:
        """before: called with the number of streams before each step, for a step that takes its time."""
        self._tags = tags
        self._before = before
        self.steps: list[int] = []

    def step(self, audio: Sound, rows: NDArray[np.int64]) -> Sound:
        assert len(set(rows.tolist())) == len(rows)
        if self._before is not None:
            self._before(len(rows))
        self.steps.append(len(rows))
        probs = np.zeros((len(audio), self._tags), np.float32)
        probs[:, 0], probs[:, 1] = audio[:, 0], audio[:, -1]
        return probs

    def reset(self, rows: NDArray[np.int64]) -> None: ...

    def forget(self, rows: NDArray[np.int64]) -> None: ...

    def export(self, row: int) -> dict[str, NDArray[np.float32]]:
        return {"scattering.echo": np.full(3, row, np.float32)}

    def adopt(self, row: int, arrays: dict[str, NDArray[np.float32]]) -> None:
        assert row >= 0
        assert arrays.keys() == {"scattering.echo"}


class Room:
    """An engine without threads of its own. echo: in the place of the network, or the network itself."""

    def __init__(
        self,
        model: Path,
        slots: int = 8,
        echo: Echo | bool = True,
        spec: SchedulerConfig | None = None,
        clock: Clock | None = None,
        fingerprint: str = "model",
    ) -> None:
        self.clock, self.ears = clock or Clock(), Ears()
        self.tagger = loaded(model)
        self.pool = SessionPool(self.tagger, slots)
        if echo:
            network = Echo(len(self.tagger.tags)) if isinstance(echo, bool) else echo
            self.pool._network = network  # type: ignore[assignment]
        self.engine = Scheduler(
            self.pool,
            self.tagger.tags,
            self.tagger.thresholds,
            self.ears,
            spec or SchedulerConfig(batch_window_s=0.0),
            fingerprint,
            clock=self.clock,
        )
        self.on_writable: list[str] = []

    def open(self, name: str, format: PcmFormat = PLAIN, position: int | None = None) -> ProducerHandle:
        return self.engine.open(name, format, position, lambda: self.on_writable.append(name))

    def once(self) -> bool:
        """One task of a worker -> whether there was one."""
        return self.engine._crew.once()

    def work(self) -> None:
        """All that there is to do now."""
        for _ in range(100_000):
            if not self.once():
                return
        raise AssertionError("the work does not end")

    def end(self, name: str, feed: ProducerHandle) -> None:
        feed.end()
        self.work()
        assert feed.has_ended
        assert len(self.ears.ends(name)) == 1


def noise(samples: int, seed: int = 0) -> Sound:
    """No two samples of it alike, nor those of two seeds. [n]"""
    return np.random.default_rng(seed).uniform(0.01, 0.9, samples).astype(np.float32)


def music(seconds: float, format: PcmFormat, seed: int = 0) -> bytes:
    """Noise in which tags come and go."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * format.rate)
    swell = np.interp(np.arange(samples), np.linspace(0, samples, 9), rng.uniform(0, 0.5, 9))
    sound = rng.standard_normal((samples, format.channels)) * swell[:, None]
    if format.encoding == "s16le":
        return (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
    return sound.astype("<f4").tobytes()


def resampled(format: PcmFormat, data: bytes) -> Sound:
    resampler = Resampler(format.rate)
    return np.concatenate([resampler.feed(format.decode(data)), resampler.flush()])


def alone(tagger: Tagger, format: PcmFormat, data: bytes) -> list[TagFrame]:
    """What one session makes of it."""
    session = Session(tagger)
    return session.feed(resampled(format, data)) + session.flush()


def agree(mine: Sequence[Frame], expected: Sequence[TagFrame], close: float = CLOSE) -> None:
    """The same frames at the same times, with the same probabilities."""
    assert [(f.frame, f.start, f.end) for f in mine] == [(f.index, f.start, f.end) for f in expected]
    for frame, other in zip(mine, expected, strict=True):
        np.testing.assert_allclose(list(frame.tags.values()), other.probs, atol=close)


def shows(frame: Frame, sound: Sound) -> bool:
    """An echo: whether it is of the sound [n] of its stream, at its place."""
    first = frame.frame * HOP + HOP // 2
    whole = np.concatenate([sound, np.zeros(2 * HOP, np.float32)])
    heard = list(frame.tags.values())[:2]
    return bool(np.allclose(heard, (whole[first], whole[first + HOP - 1]), atol=1e-6))


def missing(frames: Sequence[Frame], gaps: Sequence[Gap], seconds: float) -> list[int]:
    """Frames of a stream of so many seconds that are not there, and that no gap accounts for."""
    given = {frame.frame for frame in frames}
    centres = {k: k * HOP / RATE for k in range(int(np.ceil(seconds * RATE / HOP - 1e-9)))}
    return [
        k
        for k, centre in centres.items()
        if k not in given and not any(gap.start - 1e-6 <= centre < gap.start + gap.lost_s + 1e-6 for gap in gaps)
    ]


class Bell:
    """Rings when a feed is on_writable."""

    def __init__(self) -> None:
        self._event = Event()

    def __call__(self) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(PATIENCE_S)
        self._event.clear()


def exported(room: Room, name: str) -> bytes:
    future = room.engine.export_state(name)
    room.work()
    return future.result(0)


def adopted(room: Room, name: str, data: bytes) -> int:
    future = room.engine.import_state(name, data)
    room.work()
    return future.result(0)


def a_state(model: Path, format: PcmFormat = ODD, echo: bool = False) -> bytes:
    room = Room(model, echo=echo)
    if echo:
        room.open("mic").push(noise(20_000).tobytes())
    else:
        room.open("mic", format).push(music(1.23, format, 1))
    room.work()
    return exported(room, "mic")
