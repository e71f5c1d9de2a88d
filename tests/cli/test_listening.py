"""The loop of a live stream, on sound from memory: frames, gaps, notices, keys, limits, in their order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.api import Tagger
from streamtag.audio.level_meter import Meter
from streamtag.audio.source import AudioChunk, AudioGap, CaptureEvent, SourceNotice
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.errors import SpecError
from streamtag.inference.events import EventDetector
from streamtag.inference.frame import TagFrame
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.protocol.messages import Frame, Gap, Message
from streamtag.sinks.base import Sink, SinkGroup
from streamtag.terminal.watch_panel import MeterSink
from tests.audio.fake_microphone import FakeMicrophone, Fault

RATE = 16000


class Kept(Sink):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def write(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def frames(self) -> list[Frame]:
        return [message for message in self.messages if isinstance(message, Frame)]

    @property
    def kinds(self) -> str:
        """g for a gap, f for frames in a row, e for an error."""
        letters = {"frame": "f", "gap": "g", "error": "e", "end": "."}
        text = "".join(letters.get(message.type, "") for message in self.messages)
        while "ff" in text:
            text = text.replace("ff", "f")
        return text


class Scripted:
    """A capture that gives these pieces, then nothing more or its end."""

    name, description, xruns, latency_s = "mic", "a list", 0, 0.0

    def __init__(self, pieces: Iterable[CaptureEvent], ends: bool = True) -> None:
        self._pieces = deque(pieces)
        self._ends = ends

    def read(self, timeout_s: float) -> CaptureEvent | None:
        if self._pieces:
            return self._pieces.popleft()
        if self._ends:
            return None
        time.sleep(timeout_s)
        return AudioChunk(np.zeros(0, np.float32), time.monotonic())

    def close(self) -> None:
        pass


pytestmark = pytest.mark.usefixtures("one")


Listen = Callable[..., tuple[Kept, Meter, list[str]]]


@pytest.fixture
def listen(tagger: Tagger) -> Listen:
    """(capture, limits, pressed) -> what was told, the meter, and what was said."""

    def run(
        capture: Scripted | FakeMicrophone,
        limits: Limits | None = None,
        pressed: Iterable[str | None] = (),
        wanted: Callable[[], bool] = lambda: True,
    ) -> tuple[Kept, Meter, list[str]]:
        kept, meter, said, keys = Kept(), Meter(lambda: 0.0), [], iter(pressed)
        sinks, detector = SinkGroup([MeterSink(meter), kept]), EventDetector(tagger.tags, tagger.thresholds)
        hearing = StreamPipeline("mic", Session(tagger), detector, sinks.publish, max_rows=64)
        listening = LiveRunner(capture, hearing, meter, limits or Limits(), lambda notice: said.append(notice.text))
        first = AudioChunk(np.zeros(0, np.float32), time.monotonic())
        listening.run(first, wanted, lambda: next(keys, None), {"r": listening.forget})
        hearing.end()
        return kept, meter, said

    return run


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def heard(samples: NDArray[np.float32], size: int = 160) -> list[CaptureEvent]:
    """As blocks of a device, all of which come now."""
    parts = (samples[start : start + size] for start in range(0, len(samples), size))
    return [AudioChunk(part, time.monotonic(), float(np.abs(part).max())) for part in parts]


def of_a_file(tagger: Tagger, samples: NDArray[np.float32]) -> list[TagFrame]:
    session = Session(tagger)
    return session.feed(samples) + session.flush()


def test_a_live_stream_gives_the_frames_of_the_same_sound_in_a_file(tagger: Tagger, listen: Listen) -> None:
    samples = noise(6)
    capture = FakeMicrophone(samples, RATE, speed=float("inf"))
    kept, meter, _ = listen(capture)
    expected = of_a_file(tagger, samples)
    assert [frame.frame for frame in kept.frames] == [frame.index for frame in expected]
    for frame, other in zip(kept.frames, expected, strict=True):
        np.testing.assert_allclose(list(frame.tags.values()), other.probs, atol=1e-4)
    reading = meter.reading()
    assert reading.elapsed_s == pytest.approx(6, abs=0.3)
    assert reading.gaps == 0
    assert reading.rtf is not None
    assert reading.rtf > 0
    assert reading.level is not None
    assert reading.level.rms_db == pytest.approx(-20, abs=1.5)


def test_what_is_lost_is_told_where_it_is_missing_and_the_clock_goes_on(listen: Listen) -> None:
    capture = FakeMicrophone(noise(8), RATE, speed=float("inf"), mishaps=[Fault(at_s=3.0, lost_s=1.0)])
    kept, meter, _ = listen(capture)
    (gap,) = [message for message in kept.messages if isinstance(message, Gap)]
    assert gap.start == pytest.approx(3.0, abs=0.02)
    assert gap.lost_s == pytest.approx(1.0, abs=0.02)
    assert kept.kinds == "fgf."
    centres = [(frame.start + frame.end) / 2 for frame in kept.frames]
    assert centres == pytest.approx([frame.frame * 0.256 for frame in kept.frames])
    assert not any(gap.start <= centre < gap.start + gap.lost_s for centre in centres)
    assert centres[-1] > 7.5
    assert meter.reading().lost_s == pytest.approx(1.0, abs=0.02)


def test_latency_is_the_time_since_the_sound_at_the_centre_was_made(tagger: Tagger, listen: Listen) -> None:
    samples = noise(3)
    kept, meter, _ = listen(FakeMicrophone(samples, RATE, speed=1.0))
    live = [frame.latency_s for frame in kept.frames if frame.latency_s is not None]
    assert len(live) >= 8  # the last frames come out at the end, when nothing was fed
    lookahead = tagger.network.latency_s
    assert all(lookahead <= latency < lookahead + 1.0 for latency in live)
    assert min(live) < lookahead + 0.3
    assert meter.reading().latency_p50_s == pytest.approx(float(np.median(live)), abs=0.05)


def test_trouble_is_an_error_for_subscribers_and_a_line_for_people(listen: Listen) -> None:
    pieces = [
        *heard(noise(1)),
        SourceNotice("the microphone is gone: trying again"),
        AudioGap(RATE),
        SourceNotice("the microphone is back", is_problem=False),
        *heard(noise(1)),
    ]
    kept, _, said = listen(Scripted(pieces))
    assert said == ["the microphone is gone: trying again", "the microphone is back"]
    assert kept.kinds == "fegf."
    (error,) = [message.to_dict() for message in kept.messages if message.type == "error"]
    assert error == {"type": "error", "message": "the microphone is gone: trying again", "stream": "mic"}


def test_it_ends_after_exactly_so_much_sound(listen: Listen) -> None:
    kept, _, _ = listen(Scripted(heard(noise(4)), ends=False), Limits(seconds=1.2345))
    assert kept.messages[-1].to_dict()["seconds"] == 1.234


def test_it_ends_too_when_the_device_gives_nothing_any_more(listen: Listen) -> None:
    kept, _, _ = listen(Scripted(heard(noise(0.1)), ends=False), Limits(seconds=0.3))
    assert kept.messages[-1].to_dict()["seconds"] == 0.1


def test_it_ends_when_it_is_not_wanted_any_more(listen: Listen) -> None:
    answers = iter([True] * 5)
    kept, _, _ = listen(Scripted(heard(noise(1)), ends=False), wanted=lambda: next(answers, False))
    assert kept.messages[-1].to_dict()["seconds"] == 0.05


def test_the_key_r_lets_the_network_forget(tagger: Tagger, listen: Listen) -> None:
    samples = noise(4)
    keys = [*[None] * 150, "r"]
    kept, _, said = listen(Scripted(heard(samples)), pressed=keys)
    same, _, nothing = listen(Scripted(heard(samples)), pressed=[*[None] * 150, "x"])
    assert said == ["the network has forgotten what it heard"]
    assert nothing == []
    assert [frame.frame for frame in kept.frames] == [frame.frame for frame in same.frames]
    differences = [
        max(abs(a.tags[tag] - b.tags[tag]) for tag in tagger.tags)
        for a, b in zip(kept.frames, same.frames, strict=True)
    ]
    changed = [number for number, difference in enumerate(differences) if difference > 1e-6]
    assert changed
    assert changed[0] == 5  # the first whose look-ahead ends after the key: 5 x 0.256 + 0.384 s > 1.51 s


def test_after_silence_the_network_forgets_once_when_sound_is_back(listen: Listen) -> None:
    quiet = np.zeros(3 * RATE, np.float32)
    sound = np.concatenate([noise(1), quiet, noise(1), quiet, noise(1), quiet])
    _, _, said = listen(Scripted(heard(sound)), Limits(reset_on_silence_s=1.5))
    assert said == ["the network has forgotten what it heard"] * 2
    _, _, said = listen(Scripted(heard(sound)), Limits(reset_on_silence_s=3.5))
    assert said == []


@pytest.mark.parametrize("values", [{"seconds": 0.0}, {"reset_on_silence_s": -1.0}, {"seconds": float("nan")}])
def test_limits_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(SpecError):
        Limits(**values)
