"""A stream moves to another engine without a break in its frames; bytes that are no stream are refused."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from streamtag.inference.batch import SessionPool
from streamtag.protocol.messages import Event
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.registry import Busy, NameTaken, UnknownStream
from streamtag.scheduler.scheduler import Scheduler
from tests.scheduler.scheduler_room import (
    CLOSE,
    PATIENCE_S,
    PLAIN,
    Bell,
    Ears,
    Room,
    a_state,
    adopted,
    agree,
    alone,
    exported,
    music,
    noise,
)

FORMATS = [
    PLAIN,
    PcmFormat(44100, "f32le", 2),
    PcmFormat(48000, "s16le", 1),
    PcmFormat(8000, "s16le", 3),
    PcmFormat(96000, "f32le", 1),
    PcmFormat(44101, "s16le", 1),
]


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("cut_s", [0.0, 0.1, 0.8, 1.937])
def test_a_stream_goes_on_elsewhere_as_if_it_had_stayed(model: Path, format: PcmFormat, cut_s: float) -> None:
    data = music(4, format, 1)
    here, there = Room(model, echo=False), Room(model, echo=False, slots=3)
    there.open("another").push(music(1, PLAIN, 7))
    feed = here.open("mic", format)
    cut = round(cut_s * format.rate) * format.sample_bytes + format.sample_bytes // 2
    feed.push(data[:cut])
    here.work()
    position = adopted(there, "mic", exported(here, "mic"))
    assert position == feed.position  # all that came is in the state
    moved = there.open("mic", format, position)
    assert moved.position == position
    moved.push(data[position * format.sample_bytes :])
    there.end("mic", moved)
    frames = here.ears.frames("mic") + there.ears.frames("mic")
    # above a low rate's own sound there is nothing but rounding, of which the network hears the logarithm
    agree(frames, alone(here.tagger, format, data), CLOSE if format.rate >= 16000 else 5 * CLOSE)
    assert not there.ears.gaps("mic")
    before = [message for message in here.ears.of("mic") if isinstance(message, Event)]
    after = [message for message in there.ears.of("mic") if isinstance(message, Event)]
    unbroken = Room(model, echo=False)
    whole = unbroken.open("mic", format)
    whole.push(data)
    unbroken.end("mic", whole)
    assert before + after == [message for message in unbroken.ears.of("mic") if isinstance(message, Event)]
    end, expected = there.ears.ends("mic")[0], unbroken.ears.ends("mic")[0]
    assert (end.seconds, end.frames) == (expected.seconds, expected.frames)
    assert end.summary == pytest.approx(expected.summary, abs=5 * CLOSE)


def test_without_its_state_it_would_be_another_stream(model: Path) -> None:
    """The negative control: hearing only the rest gives other frames."""
    data = music(4, PLAIN, 1)
    room = Room(model, echo=False)
    expected = alone(room.tagger, PLAIN, data)
    fresh = alone(room.tagger, PLAIN, data[4 * 8 * 4096 :])
    differ = [np.abs(a.probs - b.probs).max() for a, b in zip(fresh[:3], expected[8:], strict=False)]
    assert min(differ) > 10 * CLOSE


def test_a_stream_that_moves_again_and_again(model: Path) -> None:
    """There and back, twelve times; what it leaves behind ends."""
    format = FORMATS[1]
    data, size = music(6, format, 2), format.sample_bytes
    here, there = Room(model, echo=False), Room(model, echo=False)
    feed, at, frames = here.open("mic", format), 0, []
    for _ in range(12):
        feed.push(data[at * size : (at + 20_000) * size])
        here.work()
        state = exported(here, "mic")
        frames += here.ears.frames("mic")
        here.end("mic", feed)
        here.ears.messages.clear()
        here, there = there, here
        at = adopted(here, "mic", state)
        feed = here.open("mic", format, at)
    feed.push(data[at * size :])
    here.end("mic", feed)
    agree(frames + here.ears.frames("mic"), alone(here.tagger, format, data))


def test_the_stream_that_was_exported_goes_on(model: Path) -> None:
    data = music(4, FORMATS[2], 1)
    room = Room(model, echo=False)
    feed = room.open("mic", FORMATS[2])
    for start in range(0, len(data), 20_000):
        feed.push(data[start : start + 20_000])
        exported(room, "mic")
    room.end("mic", feed)
    agree(room.ears.frames("mic"), alone(room.tagger, FORMATS[2], data))


def test_the_state_of_a_stream_that_is_away_or_has_not_begun(model: Path) -> None:
    room, there = Room(model, echo=False), Room(model, echo=False)
    feed = room.open("mic")
    assert adopted(there, "new", exported(room, "mic")) == 0
    feed.push(music(1, PLAIN))
    feed.disconnect()
    room.work()
    assert adopted(there, "away", exported(room, "mic")) > 0


def test_the_state_of_a_stream_in_the_middle_of_a_gap(model: Path) -> None:
    """All of the silence is done first, and what was lost stays lost."""
    data = music(6, PLAIN, 1)
    whole, here, there = Room(model, echo=False), Room(model, echo=False), Room(model, echo=False)
    for room in (whole, here):
        feed = room.open("mic")
        feed.push(data[:60_000])
        room.work()
        feed.disconnect()
        feed = room.open("mic", position=50_000)
        if room is whole:
            feed.push(data[200_000:])
            room.end("mic", feed)
    here.once()
    assert here.ears.frames("mic")[-1].frame == 3  # the first hop of the silence
    assert adopted(there, "mic", exported(here, "mic")) == 50_000
    moved = there.open("mic", position=50_000)
    moved.push(data[200_000:])
    there.end("mic", moved)
    together = here.ears.frames("mic") + there.ears.frames("mic")
    expected = whole.ears.frames("mic")
    assert [frame.frame for frame in together] == [frame.frame for frame in expected]
    for frame, other in zip(together, expected, strict=True):
        np.testing.assert_allclose([*frame.tags.values()], [*other.tags.values()], atol=CLOSE)
    assert here.ears.gaps("mic") == whole.ears.gaps("mic")


@pytest.mark.parametrize("format", FORMATS[1:3], ids=str)
def test_a_stream_that_lost_sound_moves_as_well(model: Path, format: PcmFormat) -> None:
    """What comes behind the gap begins with a new resampler, and that is what moves."""
    data, size = music(4, format, 3), format.sample_bytes
    cut, on = format.rate, 2 * format.rate
    whole, here, there = Room(model, echo=False), Room(model, echo=False), Room(model, echo=False)
    for room in (whole, here):
        feed = room.open("mic", format)
        feed.push(data[: cut * size])
        room.work()
        feed.disconnect()
        feed = room.open("mic", format, on)
        if room is whole:
            feed.push(data[on * size :])
            room.end("mic", feed)
        else:
            feed.push(data[on * size : 3 * format.rate * size])
    here.work()
    position = adopted(there, "mic", exported(here, "mic"))
    moved = there.open("mic", format, position)
    moved.push(data[position * size :])
    there.end("mic", moved)
    together, expected = here.ears.frames("mic") + there.ears.frames("mic"), whole.ears.frames("mic")
    assert [frame.frame for frame in together] == [frame.frame for frame in expected]
    for frame, other in zip(together, expected, strict=True):
        np.testing.assert_allclose([*frame.tags.values()], [*other.tags.values()], atol=CLOSE)


def test_whoever_asks_for_a_state_does_not_wait_for_all_that_waits(model: Path) -> None:
    room = Room(model)
    room.open("file").push(noise(60 * 16000).tobytes())
    room.once()
    future = room.engine.export_state("file")
    room.once()
    assert future.done()
    assert room.engine.streams[0].waiting_s > 50


def test_an_adopted_stream_waits_for_its_producer_and_no_longer(model: Path) -> None:
    room = Room(model)
    adopted(room, "mic", a_state(model, echo=True))
    assert [stream.is_disconnected for stream in room.engine.streams] == [True]
    assert room.engine.stats.disconnected == 1
    room.clock.now += 10.1
    room.work()
    assert room.engine.stats.streams == len(room.pool) == 0
    assert len(room.ears.ends("mic")) == 1


def test_what_is_not_there_has_no_state(model: Path) -> None:
    room = Room(model)
    with pytest.raises(UnknownStream, match="nobody"):
        room.engine.export_state("nobody")
    feed = room.open("mic")
    feed.push(music(1, PLAIN))
    feed.end()
    future = room.engine.export_state("mic")  # asked in time, but it ends
    room.work()
    assert future.exception(0) is None or isinstance(future.exception(0), UnknownStream)
    assert feed.has_ended
    with pytest.raises(UnknownStream):
        room.engine.export_state("mic")


def test_names_and_places_are_asked_for_at_once(model: Path) -> None:
    data = a_state(model, echo=True)
    room = Room(model, spec=SchedulerConfig(batch_window_s=0, max_streams=2))
    feed = room.open("mic")
    with pytest.raises(NameTaken):
        room.engine.import_state("mic", data)
    first = room.engine.import_state("other", data)
    with pytest.raises(NameTaken):
        room.engine.import_state("other", data)
    with pytest.raises(Busy):
        room.open("other")  # on its way here
    with pytest.raises(Busy):
        room.engine.import_state("third", data)
    room.work()
    first.result(0)
    room.end("mic", feed)
    adopted(room, "third", data)


def test_an_adoption_that_nobody_waits_for_any_more(model: Path) -> None:
    room = Room(model)
    future = room.engine.import_state("mic", a_state(model, echo=True))
    assert future.cancel()
    room.work()
    assert room.engine.stats.streams == len(room.pool) == 0
    room.open("mic")
    asked = room.engine.export_state("mic")
    assert asked.cancel()
    room.work()
    assert exported(room, "mic")


@pytest.mark.parametrize("format", [*FORMATS, PcmFormat(384_000, "f32le", 8)], ids=str)
def test_a_state_is_small(model: Path, format: PcmFormat) -> None:
    assert len(a_state(model, format)) < 450_000


def test_a_move_between_engines_that_work(model: Path) -> None:
    """With threads, while the producer pushes."""
    room = Room(model, echo=False)
    tagger, format = room.tagger, FORMATS[1]
    data = music(8, format, 4)
    size = format.sample_bytes
    ears = [Ears(), Ears()]
    spec = SchedulerConfig(workers=2, max_streams=4)
    engines = [Scheduler(SessionPool(tagger, 4), tagger.tags, tagger.thresholds, e, spec, "m") for e in ears]
    with engines[0] as here, engines[1] as there:
        bell, at, pushed = Bell(), 0, threading.Event()
        feed = here.open("mic", format, None, bell)

        def push() -> None:
            nonlocal at
            while at < len(data) // 2:
                if not feed.push(data[at : at + 9999]):
                    bell.wait()
                at += 9999
                if at > len(data) // 4:
                    pushed.set()

        pusher = threading.Thread(target=push)
        pusher.start()
        assert pushed.wait(PATIENCE_S)
        position = there.import_state("mic", here.export_state("mic").result(PATIENCE_S)).result(PATIENCE_S)
        pusher.join(PATIENCE_S)
        moved = there.open("mic", format, position, bell)
        for start in range(position * size, len(data), 50_000):
            if not moved.push(data[start : start + 50_000]):
                bell.wait()
        moved.end()
        while not moved.has_ended:
            bell.wait()
    after = ears[1].frames("mic")
    before = [frame for frame in ears[0].frames("mic") if frame.frame < after[0].frame]
    agree(before + after, alone(tagger, format, data))
