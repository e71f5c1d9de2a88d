"""Many streams in one engine are, each of them, what they would be alone. With real threads and a real network."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamtag.api import Tagger, load
from streamtag.inference.batch import SessionPool
from streamtag.inference.events import EventDetector
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Frame, Message
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.scheduler import ProducerHandle, Scheduler
from tests.scheduler.scheduler_room import CLOSE, Bell, Ears, Room, agree, alone, music

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


@pytest.fixture(scope="module")
def tagger(model: Path) -> Tagger:
    return load(model, "cpu")


def push_all(feed: ProducerHandle, bell: Bell, data: bytes, seed: int) -> None:
    """As a producer does, cut anywhere; then its end."""
    rng, start = np.random.default_rng(seed), 0
    while start < len(data):
        size = int(rng.choice([1, 3, 7, 333, 4097, 20_001, 60_000]))
        room = feed.push(data[start : start + size])
        start += size
        while not room:
            bell.wait()
            room = True
    feed.end()
    while not feed.has_ended:
        bell.wait()


def run_all(tagger: Tagger, sounds: dict[str, tuple[PcmFormat, bytes]], threads: int, spec: SchedulerConfig) -> Ears:
    """All at once, pushed by several threads, each with some of the streams."""
    ears, names = Ears(), list(sounds)
    with Scheduler(SessionPool(tagger, len(sounds)), tagger.tags, tagger.thresholds, ears, spec) as engine:

        def push(mine: list[str]) -> None:
            bells = {name: Bell() for name in mine}
            feeds = {name: engine.open(name, sounds[name][0], None, bells[name]) for name in mine}
            for name in mine:
                push_all(feeds[name], bells[name], sounds[name][1], hash(name) % 1000)

        pushers = [threading.Thread(target=push, args=(names[n::threads],)) for n in range(threads)]
        for pusher in pushers:
            pusher.start()
        for pusher in pushers:
            pusher.join(60)
            assert not pusher.is_alive()
        assert engine.stats.streams == 0
    return ears


def test_many_streams_of_many_formats_pushed_by_many_threads_are_what_each_is_alone(tagger: Tagger) -> None:
    sounds = {
        f"stream {n}": (FORMATS[n % len(FORMATS)], music(2 + 0.31 * n, FORMATS[n % len(FORMATS)], n)) for n in range(16)
    }
    ears = run_all(tagger, sounds, 4, SchedulerConfig(workers=3, max_streams=16))
    for name, (format, data) in sounds.items():
        expected = alone(tagger, format, data)
        agree(ears.frames(name), expected)
        (end,) = ears.ends(name)
        assert ears.of(name)[-1] is end
        assert end.frames == len(expected)
        assert end.seconds == pytest.approx(len(data) / format.sample_bytes / format.rate, abs=1e-4)
        assert not ears.gaps(name)
    one, other = (ears.frames(f"stream {n}") for n in (0, 8))  # of the same format: another sound is another frame
    assert np.abs(
        np.array([[*a.tags.values()] for a in one]) - [[*b.tags.values()] for b in other[: len(one)]]
    ).max() > (10 * CLOSE)


def test_the_shipped_model_in_an_engine_gives_what_a_session_gives() -> None:
    tagger = load(device="cpu")
    sounds = {str(n): (format, music(2.5, format, n)) for n, format in enumerate(FORMATS[:3])}
    ears = run_all(tagger, sounds, 2, SchedulerConfig(workers=2))
    for name, (format, data) in sounds.items():
        agree(ears.frames(name), alone(tagger, format, data))


def test_the_messages_are_those_that_listening_to_the_sound_alone_gives(model: Path, tagger: Tagger) -> None:
    """Frames, events and the end, in their order."""
    data = music(12, FORMATS[0], 5)
    alone_messages: list[Message] = []
    detector = EventDetector(tagger.tags, tagger.thresholds)
    hearing = StreamPipeline("mic", Session(tagger), detector, alone_messages.append)
    hearing.feed(np.frombuffer(data, "<f4").copy())
    hearing.end()
    room = Room(model, echo=False)
    feed = room.open("mic")
    feed.push(data)
    room.end("mic", feed)
    expected = [message.to_dict() for message in alone_messages]
    assert {message["type"] for message in expected} == {"frame", "event", "end"}
    mine = [message.to_dict() for message in room.ears.of("mic")]
    assert [(m["type"], m.get("frame"), m.get("tag"), m.get("state"), m.get("time")) for m in mine] == [
        (m["type"], m.get("frame"), m.get("tag"), m.get("state"), m.get("time")) for m in expected
    ]
    end, wanted = mine[-1], expected[-1]
    assert end["summary"] == pytest.approx(wanted["summary"], abs=2e-4)
    assert (end["frames"], end["seconds"]) == (wanted["frames"], wanted["seconds"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    format=st.sampled_from([*FORMATS[:5], FORMATS[7]]),
    sizes=st.lists(st.sampled_from([0, 1, 2, 3, 5, 1001, 4096, 16384, 50_001]), min_size=1, max_size=6).filter(
        lambda sizes: sum(sizes) / len(sizes) > 500
    ),
    work=st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_every_cut_of_the_bytes_gives_the_same_frames(
    model: Path, tagger: Tagger, format: PcmFormat, sizes: list[int], work: list[bool]
) -> None:
    data = music(1.7, format, 3)
    room = Room(model, echo=False, slots=1)
    feed, start, turn = room.open("mic", format), 0, 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        feed.push(data[start : start + size])
        if work[turn % len(work)]:
            room.work()
        start, turn = start + size, turn + 1
    room.end("mic", feed)
    agree(room.ears.frames("mic"), alone(tagger, format, data))


@pytest.mark.parametrize("samples", [0, 1, 2047, 2048, 2049, 4096, 6143, 6144, 6145, 8192, 10_241])
def test_the_end_of_a_stream_of_any_length(model: Path, tagger: Tagger, samples: int) -> None:
    data = music(samples / 16000, FORMATS[0], 1)
    room = Room(model, echo=False, slots=1)
    feed = room.open("mic", FORMATS[0])
    feed.push(data)
    assert not feed.has_ended
    room.end("mic", feed)
    agree(room.ears.frames("mic"), alone(tagger, FORMATS[0], data))
    assert room.on_writable[-1:] == ["mic"]
    assert len(room.pool) == 0


def test_half_a_sample_at_the_end_is_nothing(model: Path) -> None:
    room = Room(model, slots=1)
    feed = room.open("mic", FORMATS[0])
    feed.push(music(0.5, FORMATS[0]) + b"\x00\x00\x00")
    assert feed.position == 8000
    room.end("mic", feed)
    assert room.ears.ends("mic")[0].seconds == 0.5


def test_a_frame_of_a_live_stream_tells_how_late_it_is_and_one_of_a_file_does_not(model: Path) -> None:
    room = Room(model)
    live = room.open("live", FORMATS[0])
    data = music(3, FORMATS[0])
    step = 4 * 1600
    for start in range(0, len(data), step):
        room.clock.now += 0.1
        live.push(data[start : start + step])
        room.work()
    room.open("file", FORMATS[0]).push(data)
    room.work()
    latencies = [frame.latency_s for frame in room.ears.frames("live")]
    assert latencies
    assert all(latency is not None and 0.384 - 1e-6 <= latency <= 0.384 + 0.1 for latency in latencies)
    assert {frame.latency_s for frame in room.ears.frames("file")} == {None}


def test_samples_that_are_no_numbers_count_as_silence(model: Path, tagger: Tagger) -> None:
    sound = np.frombuffer(music(2, FORMATS[0]), "<f4").copy()
    poisoned = sound.copy()
    sound[5000:5003], poisoned[5000:5003] = 0, [np.nan, np.inf, -np.inf]
    room = Room(model, echo=False, slots=1)
    feed = room.open("mic", FORMATS[0])
    feed.push(poisoned.tobytes())
    room.end("mic", feed)
    agree(room.ears.frames("mic"), alone(tagger, FORMATS[0], sound.tobytes()))


def test_what_comes_after_the_end_is_not_heard(model: Path) -> None:
    room = Room(model)
    feed = room.open("mic", FORMATS[0])
    feed.push(music(1, FORMATS[0]))
    feed.end()
    assert feed.push(music(1, FORMATS[0], 1))
    feed.disconnect()
    room.work()
    assert room.ears.ends("mic")[0].seconds == 1.0


def test_leaving_an_engine_ends_all_its_streams(tagger: Tagger) -> None:
    ears, bells = Ears(), [Bell() for _ in range(5)]
    spec = SchedulerConfig(workers=2, max_streams=5)
    with Scheduler(SessionPool(tagger, 5), tagger.tags, tagger.thresholds, ears, spec) as engine:
        feeds = [engine.open(str(n), FORMATS[0], None, bell) for n, bell in enumerate(bells)]
        for n, feed in enumerate(feeds):
            feed.push(music(0.3 * n, FORMATS[0], n))
        feeds[4].disconnect()
    for n, feed in enumerate(feeds):
        assert feed.has_ended
        assert isinstance(ears.of(str(n))[-1], End)
        data = music(0.3 * n, FORMATS[0], n)
        agree(ears.frames(str(n)), alone(tagger, FORMATS[0], data))
    for bell in bells[:4]:
        bell.wait()
    assert not any(thread.name.startswith("streamtag-worker") for thread in threading.enumerate())


def test_the_engine_says_how_many_it_can_hold(tagger: Tagger) -> None:
    pool = SessionPool(tagger, 400)
    with Scheduler(pool, tagger.tags, tagger.thresholds, Ears(), SchedulerConfig(workers=2, measure_s=0.5)) as engine:
        load_now = engine.stats
        assert 1 <= load_now.capacity <= 400
        assert load_now.room == load_now.capacity
        assert len(pool) == 0


def test_a_defect_in_one_stream_ends_that_stream_and_no_other(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(model)
    bad, good = room.open("bad", FORMATS[0]), room.open("good", FORMATS[0])
    good.push(music(0.7, FORMATS[0]))
    room.work()
    decode = PcmFormat.decode

    def poisoned(self: PcmFormat, data: bytes) -> object:
        if len(data) == 4:
            raise RuntimeError("broken")
        return decode(self, data)

    monkeypatch.setattr(PcmFormat, "decode", poisoned)
    bad.push(b"\x00" * 4)
    room.work()
    assert bad.has_ended
    assert "broken" in room.ears.errors("bad")[0].message
    assert len(room.ears.ends("bad")) == 1
    good.push(music(0.7, FORMATS[0]))
    room.end("good", good)
    assert len(room.pool) == 0
    again = room.open("bad", FORMATS[0])
    again.push(music(0.7, FORMATS[0]))
    room.work()
    assert isinstance(room.ears.of("bad")[-1], Frame)
