"""Many streams in one scheduler are, each of them, what they would be in a session of their own."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from streamtag.api import Tagger
from streamtag.audio.pcm import PcmFormat
from streamtag.inference.batch import SessionPool
from streamtag.inference.events import EventDetector
from streamtag.inference.session import Session
from streamtag.model import Normalization, Scattering, ScatteringSpec, StackedGRU, TaggerNetwork
from streamtag.model.model_file import save_tagger
from streamtag.protocol.messages import End, Event, Frame, Gap
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.producer_handle import ProducerHandle
from streamtag.scheduler.scheduler import Scheduler
from streamtag.spec import NetworkSpec, NormalizationSpec
from tests.scheduler.harness import (
    PLAIN,
    TOLERANCE,
    FakeClock,
    Harness,
    MessageLog,
    Signal,
    assert_equal_frames,
    exported,
    imported,
    music,
    reference_frames,
)

FORMATS = [
    PcmFormat(16000, "f32le", 1),
    PcmFormat(48000, "f32le", 1),
    PcmFormat(44100, "s16le", 2),
    PcmFormat(8000, "s16le", 1),
    PcmFormat(22050, "f32le", 3),
    PcmFormat(96000, "s16le", 8),
    PcmFormat(44101, "f32le", 1),
    PcmFormat(16000, "s16le", 1),
]


def push_all(producer: ProducerHandle, signal: Signal, data: bytes, seed: int) -> None:
    """Push in messages cut anywhere, and end."""
    rng, start = np.random.default_rng(seed), 0
    while start < len(data):
        size = int(rng.choice([1, 3, 7, 333, 4097, 20_001, 60_000]))
        if not producer.push(data[start : start + size]):
            signal.wait()
        start += size
    producer.end()
    signal.wait_for_end(producer)


def test_streams_of_many_formats_pushed_by_many_threads_give_their_own_frames(tagger: Tagger) -> None:
    sounds = {f"stream {n}": (format, music(2 + 0.3 * n, format, n)) for n, format in enumerate([*FORMATS, FORMATS[0]])}
    log, names, config = MessageLog(), list(sounds), SchedulerConfig(workers=3, max_streams=16, batch_window_s=0)
    with Scheduler(SessionPool(tagger, len(sounds)), log, config, clock=FakeClock()) as scheduler:  # none is ever late

        def push(mine: list[str]) -> None:
            signals = {name: Signal() for name in mine}
            producers = {name: scheduler.open(name, sounds[name][0], None, signals[name]) for name in mine}
            for name in mine:
                push_all(producers[name], signals[name], sounds[name][1], hash(name) % 1000)

        pushers = [threading.Thread(target=push, args=(names[n::3],)) for n in range(3)]
        for pusher in pushers:
            pusher.start()
        for pusher in pushers:
            pusher.join(60)
            assert not pusher.is_alive()
        assert scheduler.stats.streams == 0
    for name, (format, data) in sounds.items():
        expected = reference_frames(tagger, format, data)
        assert_equal_frames(log.frames(name), expected)
        (end,) = log.ends(name)
        assert log.of(name)[-1] is end
        assert end.frames == len(expected)
        assert end.seconds == pytest.approx(len(data) / format.sample_bytes / format.rate, abs=1e-4)
        assert not log.gaps(name)
    one, other = log.frames(names[0]), log.frames(names[-1])  # of the same format: other audio gives other frames
    differences = [abs(a.tags[tag] - b.tags[tag]) for a, b in zip(one, other, strict=False) for tag in a.tags]
    assert max(differences) > 10 * TOLERANCE


def test_a_model_with_another_hop_gives_the_frames_of_a_session(tmp_path: Path) -> None:
    """Also when its stream moves."""
    torch.manual_seed(1)
    front = ScatteringSpec(J=9, T=512, hop=2048, window=4096, lookahead=3072)
    scattering = Scattering(front)
    network = NetworkSpec(inputs=scattering.forward(torch.zeros(1, 4096)).shape[-1], hidden=16, layers=1, outputs=3)
    normalization, head = Normalization(NormalizationSpec(), front), torch.nn.Linear(16, 3)
    small = TaggerNetwork(scattering, normalization, StackedGRU(network), head, tuple("abc"), (0.5,) * 3, {})
    save_tagger(small, tmp_path / "small.safetensors")
    data, half = music(3, PLAIN, 1), 4 * 20_000
    here, there = (Harness(tmp_path / "small.safetensors", echo=False) for _ in range(2))
    producer = here.open("mic")
    producer.push(data[:half])
    here.run_all()
    position = imported(there, "mic", exported(here, "mic"))
    moved = there.open("mic", position=position)
    moved.push(data[4 * position :])
    there.end("mic", moved)
    expected = reference_frames(here.tagger, PLAIN, data)
    assert len(expected) == 24
    assert_equal_frames(here.log.frames("mic") + there.log.frames("mic"), expected)


def test_messages_are_frames_with_their_events_and_the_end(model: Path, tagger: Tagger) -> None:
    data = music(12, PLAIN, 5)
    detector, expected = EventDetector(tagger.tags, tagger.thresholds), []
    frames = reference_frames(tagger, PLAIN, data)
    for frame in frames:
        expected += [("frame", frame.index), *(tuple(event) for event in detector.feed(frame))]
    expected += [tuple(event) for event in detector.close(12.0)]
    harness = Harness(model, echo=False)
    producer = harness.open("mic")
    producer.push(data)
    harness.end("mic", producer)
    *messages, end = harness.log.of("mic")
    actual = [
        ("frame", message.frame) if isinstance(message, Frame) else (message.tag, message.state, message.time)
        for message in messages
        if isinstance(message, Frame | Event)
    ]
    assert actual == expected
    assert {"on", "off"} <= {message.state for message in messages if isinstance(message, Event)}
    assert isinstance(end, End)
    assert (end.frames, end.seconds) == (len(frames), 12.0)
    means = np.mean([frame.probs for frame in frames], axis=0)
    assert end.summary == pytest.approx(dict(zip(tagger.tags, means.tolist(), strict=True)), abs=2e-4)


@pytest.mark.parametrize("samples", [0, 1, 2047, 2048, 2049, 4096, 6143, 6144, 6145, 8192, 10_241])
def test_a_stream_of_any_length_ends_with_all_its_frames(model: Path, tagger: Tagger, samples: int) -> None:
    data = music(samples / 16000, PLAIN, 1)
    harness = Harness(model, echo=False, slots=1)
    producer = harness.open("mic")
    producer.push(data + b"\x00\x00\x00")  # a part of a sample is nothing
    assert producer.position == samples
    assert not producer.has_ended
    harness.end("mic", producer)
    assert_equal_frames(harness.log.frames("mic"), reference_frames(tagger, PLAIN, data))
    assert harness.log.ends("mic")[0].seconds == samples / 16000
    assert harness.notified[-1:] == ["mic"]
    assert len(harness.pool) == 0


def test_only_frames_of_live_streams_have_a_latency(harness: Harness) -> None:
    live, data, chunk = harness.open("live"), music(3, PLAIN), 4 * 1600
    for start in range(0, len(data), chunk):
        harness.clock.now += 0.1
        live.push(data[start : start + chunk])
        harness.run_all()
    harness.open("file").push(data)
    harness.run_all()
    latencies = [frame.latency_s for frame in harness.log.frames("live")]
    assert latencies
    assert all(latency is not None and 0.384 - 1e-6 <= latency <= 0.384 + 0.1 for latency in latencies)
    assert {frame.latency_s for frame in harness.log.frames("file")} == {None}


def test_nothing_is_accepted_after_the_end(harness: Harness) -> None:
    producer = harness.open("mic")
    producer.push(music(1, PLAIN))
    producer.end()
    assert producer.push(music(1, PLAIN, 1))
    producer.disconnect()
    harness.run_all()
    assert harness.log.ends("mic")[0].seconds == 1.0


@pytest.mark.parametrize("lost", [3000, 20_000, 200_000])
def test_a_producer_reports_gaps_and_resets_in_their_places(model: Path, lost: int) -> None:
    """As a session would have them; the control without the reset differs."""
    harness = Harness(model, echo=False)
    sound = np.frombuffer(music(6.0, PLAIN), np.float32)
    before, between, after = sound[:30_001], sound[30_001:60_000], sound[60_000:]
    producer = harness.open("mic")
    producer.push(before.tobytes() + b"\1")  # a byte of a sample that never came
    producer.skip(lost)
    producer.push(between.tobytes())
    producer.reset_context()
    producer.push(after.tobytes())
    assert producer.position == len(sound) + lost
    harness.end("mic", producer)
    session, without_reset = Session(harness.tagger), Session(harness.tagger)
    expected = session.feed(before) + session.insert_gap(lost) + session.feed(between)
    session.reset_context()
    expected += session.feed(after) + session.flush()
    assert_equal_frames(harness.log.frames("mic"), expected)
    assert harness.log.gaps("mic") == [Gap("mic", len(before) / 16000, lost / 16000)]
    for part in (before, between, after):
        if part is between:
            without_reset.insert_gap(lost)
        control = without_reset.feed(part)
    with pytest.raises(AssertionError):
        assert_equal_frames(harness.log.frames("mic")[-3:], (control + without_reset.flush())[-3:])


def test_the_latency_counts_from_when_the_audio_was_recorded(harness: Harness) -> None:
    for name, recorded in (("now", None), ("before", harness.clock.now - 0.75)):
        producer = harness.open(name)
        producer.push(bytes(4 * 16000), recorded)
        harness.run_all()
    latencies = [harness.log.frames(name)[0].latency_s for name in ("now", "before")]
    assert latencies == pytest.approx([1.0, 1.75])
