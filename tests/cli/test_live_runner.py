"""The loop of a live stream on sound from memory: frames, gaps, notices, keys and limits."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.api import Tagger
from streamtag.audio.level_meter import Meter
from streamtag.audio.source import AudioChunk, AudioGap, AudioSource, CaptureEvent, SourceNotice
from streamtag.cli.live_runner import Limits, LiveRunner
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.protocol.messages import Frame, Gap, Message
from streamtag.sinks.base import CallbackSink, SinkGroup
from streamtag.terminal.stream_view import MeterSink
from tests.audio.fake_microphone import FakeMicrophone, Fault

RATE = 16000


def frames_of(messages: list[Message]) -> list[Frame]:
    return [message for message in messages if isinstance(message, Frame)]


def kinds_of(messages: list[Message]) -> str:
    """g for a gap, f for frames in a row, e for an error, . for the end."""
    letters = {"frame": "f", "gap": "g", "error": "e", "end": "."}
    return re.sub("f+", "f", "".join(letters.get(message.type, "") for message in messages))


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


Listen = Callable[..., tuple[list[Message], Meter, list[str]]]


@pytest.fixture
def listen(tagger: Tagger) -> Listen:

    def run(
        source: Scripted | FakeMicrophone,
        limits: Limits | None = None,
        resets_after: Iterable[bool] = (),
        should_continue: Callable[[], bool] = lambda: True,
    ) -> tuple[list[Message], Meter, list[str]]:
        recorded, meter, notices, resets = list[Message](), Meter(lambda: 0.0), [], iter(resets_after)
        sinks = SinkGroup([MeterSink(meter), CallbackSink(recorded.append)])
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
    parts = (samples[start : start + size] for start in range(0, len(samples), size))
    return [AudioChunk(part, time.monotonic(), float(np.abs(part).max())) for part in parts]


def test_lost_audio_is_a_gap_at_its_place_and_time_continues(listen: Listen) -> None:
    source = FakeMicrophone([noise(8)], speed=float("inf"), faults=[Fault(at_s=3.0, lost_s=1.0)])
    recorded, meter, _ = listen(source)
    (gap,) = [message for message in recorded if isinstance(message, Gap)]
    assert gap.start == pytest.approx(3.0, abs=0.02)
    assert gap.lost_s == pytest.approx(1.0, abs=0.02)
    assert kinds_of(recorded) == "fgf."
    centres = [(frame.start + frame.end) / 2 for frame in frames_of(recorded)]
    assert centres == pytest.approx([frame.frame * 0.256 for frame in frames_of(recorded)])
    assert not any(gap.start <= centre < gap.start + gap.lost_s for centre in centres)
    assert centres[-1] > 7.5
    assert meter.reading().lost_s == pytest.approx(1.0, abs=0.02)


def test_latency_is_the_time_since_the_sound_at_the_centre(tagger: Tagger, listen: Listen) -> None:
    recorded, meter, _ = listen(FakeMicrophone([noise(1.5)], speed=1.0))
    live = [frame.latency_s for frame in frames_of(recorded) if frame.latency_s is not None]
    assert len(live) >= 4  # the last frames come out at the end, when nothing was fed
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
    assert kinds_of(recorded) == "fegf."
    (error,) = [message.to_dict() for message in recorded if message.type == "error"]
    assert error == {"type": "error", "message": "the microphone is gone: trying again", "stream": "mic"}


def test_the_context_is_reset_at_once(tagger: Tagger, listen: Listen) -> None:
    samples = noise(4)
    recorded, _, notices = listen(Scripted(chunks(samples)), resets_after=[*[False] * 150, True])
    same, _, nothing = listen(Scripted(chunks(samples)))
    assert notices == ["the network's context was reset"]
    assert nothing == []
    assert [frame.frame for frame in frames_of(recorded)] == [frame.frame for frame in frames_of(same)]
    differences = [
        max(abs(a.tags[tag] - b.tags[tag]) for tag in tagger.tags)
        for a, b in zip(frames_of(recorded), frames_of(same), strict=True)
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
    assert recorded[-1].to_dict()["seconds"] == seconds
