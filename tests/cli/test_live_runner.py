"""The loop of a live stream on sound from memory: frames, gaps, notices, keys and limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.api import Tagger
from streamtag.audio.level_meter import Meter
from streamtag.audio.source import AudioChunk, AudioGap, AudioSource, CaptureEvent, SourceNotice
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.inference.frame import TagFrame
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.protocol.messages import Frame, Gap, Message
from streamtag.sinks.base import Sink, SinkGroup
from streamtag.terminal.stream_view import MeterSink
from tests.audio.fake_microphone import FakeMicrophone, Fault

RATE = 16000


class RecordingSink(Sink):
    """Keeps all messages."""

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


class Scripted(AudioSource):
    """A source of these events, followed by its end or by nothing."""

    def __init__(self, events: Iterable[CaptureEvent], ends: bool = True) -> None:
        super().__init__("mic", "a list")
        self._queue.extend(events)
        self._has_ended = ends

    def _poll(self, timeout_s: float) -> list[CaptureEvent]:
        time.sleep(timeout_s)
        return []

    def close(self) -> None:
        pass


pytestmark = pytest.mark.usefixtures("one")


Listen = Callable[..., tuple[RecordingSink, Meter, list[str]]]


@pytest.fixture
def listen(tagger: Tagger) -> Listen:
    """Run a source; return the messages, the meter and the notices."""

    def run(
        source: Scripted | FakeMicrophone,
        limits: Limits | None = None,
        resets_after: Iterable[bool] = (),
        should_continue: Callable[[], bool] = lambda: True,
    ) -> tuple[RecordingSink, Meter, list[str]]:
        recorded, meter, notices, resets = RecordingSink(), Meter(lambda: 0.0), [], iter(resets_after)
        sinks = SinkGroup([MeterSink(meter), recorded])
        pipeline = StreamPipeline("mic", Session(tagger), sinks.publish, max_rows=64)
        runner = LiveRunner(source, pipeline, meter, limits or Limits(), lambda notice: notices.append(notice.text))
        first = AudioChunk(np.zeros(0, np.float32), time.monotonic())

        def keep_running() -> bool:
            if next(resets, False):
                runner.reset_context()
            return should_continue()

        runner.run(first, keep_running)
        pipeline.end()
        return recorded, meter, notices

    return run


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def chunks(samples: NDArray[np.float32], size: int = 160) -> list[CaptureEvent]:
    """Return the samples as chunks that arrive now."""
    parts = (samples[start : start + size] for start in range(0, len(samples), size))
    return [AudioChunk(part, time.monotonic(), float(np.abs(part).max())) for part in parts]


def of_a_file(tagger: Tagger, samples: NDArray[np.float32]) -> list[TagFrame]:
    session = Session(tagger)
    return session.feed(samples) + session.flush()


def test_a_live_stream_gives_the_frames_of_the_same_sound_in_a_file(tagger: Tagger, listen: Listen) -> None:
    samples = noise(6)
    source = FakeMicrophone([samples], speed=float("inf"))
    recorded, meter, _ = listen(source)
    expected = of_a_file(tagger, samples)
    assert [frame.frame for frame in recorded.frames] == [frame.index for frame in expected]
    for frame, other in zip(recorded.frames, expected, strict=True):
        np.testing.assert_allclose(list(frame.tags.values()), other.probs, atol=1e-4)
    reading = meter.reading()
    assert reading.elapsed_s == pytest.approx(6, abs=0.3)
    assert reading.gaps == 0
    assert reading.rtf is not None
    assert reading.rtf > 0
    assert reading.level is not None
    assert reading.level.rms_db == pytest.approx(-20, abs=1.5)


def test_lost_audio_is_a_gap_at_its_place_and_time_continues(listen: Listen) -> None:
    source = FakeMicrophone([noise(8)], speed=float("inf"), faults=[Fault(at_s=3.0, lost_s=1.0)])
    recorded, meter, _ = listen(source)
    (gap,) = [message for message in recorded.messages if isinstance(message, Gap)]
    assert gap.start == pytest.approx(3.0, abs=0.02)
    assert gap.lost_s == pytest.approx(1.0, abs=0.02)
    assert recorded.kinds == "fgf."
    centres = [(frame.start + frame.end) / 2 for frame in recorded.frames]
    assert centres == pytest.approx([frame.frame * 0.256 for frame in recorded.frames])
    assert not any(gap.start <= centre < gap.start + gap.lost_s for centre in centres)
    assert centres[-1] > 7.5
    assert meter.reading().lost_s == pytest.approx(1.0, abs=0.02)


def test_latency_is_the_time_since_the_sound_at_the_centre(tagger: Tagger, listen: Listen) -> None:
    samples = noise(3)
    recorded, meter, _ = listen(FakeMicrophone([samples], speed=1.0))
    live = [frame.latency_s for frame in recorded.frames if frame.latency_s is not None]
    assert len(live) >= 8  # the last frames come out at the end, when nothing was fed
    lookahead = tagger.network.latency_s
    assert all(lookahead <= latency < lookahead + 1.0 for latency in live)
    assert min(live) < lookahead + 0.3
    assert meter.reading().latency_p50_s == pytest.approx(float(np.median(live)), abs=0.05)


def test_a_problem_of_the_source_is_an_error_message_and_a_notice(listen: Listen) -> None:
    events = [
        *chunks(noise(1)),
        SourceNotice("the microphone is gone: trying again"),
        AudioGap(RATE),
        SourceNotice("the microphone is back", is_problem=False),
        *chunks(noise(1)),
    ]
    recorded, _, notices = listen(Scripted(events))
    assert notices == ["the microphone is gone: trying again", "the microphone is back"]
    assert recorded.kinds == "fegf."
    (error,) = [message.to_dict() for message in recorded.messages if message.type == "error"]
    assert error == {"type": "error", "message": "the microphone is gone: trying again", "stream": "mic"}


def test_the_context_is_reset_at_once(tagger: Tagger, listen: Listen) -> None:
    samples = noise(4)
    recorded, _, notices = listen(Scripted(chunks(samples)), resets_after=[*[False] * 150, True])
    same, _, nothing = listen(Scripted(chunks(samples)))
    assert notices == ["the network's context was reset"]
    assert nothing == []
    assert [frame.frame for frame in recorded.frames] == [frame.frame for frame in same.frames]
    differences = [
        max(abs(a.tags[tag] - b.tags[tag]) for tag in tagger.tags)
        for a, b in zip(recorded.frames, same.frames, strict=True)
    ]
    changed = [number for number, difference in enumerate(differences) if difference > 1e-6]
    assert changed
    assert changed[0] == 5  # the first whose look-ahead ends after the key: 5 x 0.256 + 0.384 s > 1.51 s


def test_the_context_is_reset_once_when_sound_returns_after_silence(listen: Listen) -> None:
    quiet = np.zeros(3 * RATE, np.float32)
    sound = np.concatenate([noise(1), quiet, noise(1), quiet, noise(1), quiet])
    _, _, notices = listen(Scripted(chunks(sound)), Limits(reset_on_silence_s=1.5))
    assert notices == ["the network's context was reset"] * 2
    _, _, notices = listen(Scripted(chunks(sound)), Limits(reset_on_silence_s=3.5))
    assert notices == []


@pytest.mark.parametrize(
    ("sound_s", "limits", "steps", "seconds"),
    [
        (4, Limits(seconds=1.2345), 10_000, 1.234),
        (0.1, Limits(seconds=0.3), 10_000, 0.1),  # when no audio arrives, by the clock
        (1, Limits(), 5, 0.05),  # it should not continue
    ],
)
def test_it_ends_at_its_limits(listen: Listen, sound_s: float, limits: Limits, steps: int, seconds: float) -> None:
    answers = iter([True] * steps)
    source = Scripted(chunks(noise(sound_s)), ends=False)
    recorded, _, _ = listen(source, limits, should_continue=lambda: next(answers, False))
    assert recorded.messages[-1].to_dict()["seconds"] == seconds
