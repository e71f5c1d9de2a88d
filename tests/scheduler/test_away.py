"""A producer breaks off and comes back under its name: its stream goes on, and what is missing is told exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamtag.errors import SpecError
from streamtag.inference.session import Session
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.pcm_format import PcmFormat
from streamtag.scheduler.registry import Busy, NameTaken, UnknownStream
from tests.scheduler.scheduler_room import PLAIN, RATE, Room, agree, alone, missing, music, noise, resampled, shows


def away_and_back(room: Room, sound: np.ndarray, cut: int, position: int | None, resume: int, gone_s: float) -> None:
    """Breaks off after `cut` samples and half of one more, and goes on with the sample `resume`."""
    data = sound.astype("<f4").tobytes()
    feed = room.open("mic")
    feed.push(data[: 4 * cut + 2])
    room.work()
    feed.disconnect()
    room.clock.now += gone_s
    room.work()
    back = room.open("mic", position=position)
    back.push(data[4 * resume :])
    room.end("mic", back)


def test_without_a_gap_nothing_is_told_and_no_frame_differs(model: Path) -> None:
    sound = noise(40_000)
    room = Room(model)
    away_and_back(room, sound, 15_001, 15_001, 15_001, gone_s=3)
    assert not room.ears.gaps("mic")
    frames = room.ears.frames("mic")
    assert [frame.frame for frame in frames] == list(range(10))
    assert all(shows(frame, sound) for frame in frames)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 30_000), lost=st.integers(1, 60_000), gone_s=st.floats(0, 9))
def test_a_gap_is_as_long_as_the_producer_says(model: Path, cut: int, lost: int, gone_s: float) -> None:
    """Its own count decides, not the clock; and every sound lies where it lay."""
    sound = noise(120_000)
    room = Room(model)
    away_and_back(room, sound, cut, cut + lost, cut + lost, gone_s)
    (gap,) = room.ears.gaps("mic")
    assert (gap.start, gap.lost_s) == (cut / RATE, lost / RATE)
    silent = sound.copy()
    silent[cut : cut + lost] = 0
    frames = room.ears.frames("mic")
    assert all(shows(frame, silent) for frame in frames)
    assert not any(gap.start <= (f.start + f.end) / 2 < gap.start + gap.lost_s for f in frames)
    assert missing(frames, [gap], len(sound) / RATE) == []
    assert room.ears.ends("mic")[0].seconds == len(sound) / RATE


@pytest.mark.parametrize("again", [1, 999, 15_000])
def test_what_is_sent_twice_is_heard_once(model: Path, again: int) -> None:
    sound = noise(40_000)
    room = Room(model)
    away_and_back(room, sound, 15_000, 15_000 - again, 15_000 - again, gone_s=1)
    assert not room.ears.gaps("mic")
    frames = room.ears.frames("mic")
    assert len(frames) == 10
    assert all(shows(frame, sound) for frame in frames)
    assert room.ears.ends("mic")[0].seconds == 2.5


def test_a_second_break_while_it_still_sends_again_what_it_sent(model: Path) -> None:
    sound = noise(40_000)
    data = sound.astype("<f4").tobytes()
    room = Room(model)
    first = room.open("mic")
    first.push(data[: 4 * 20_000])
    first.disconnect()
    second = room.open("mic", position=10_000)
    assert second.position == 10_000
    second.push(data[4 * 10_000 : 4 * 12_000])
    assert second.position == 12_000
    second.disconnect()
    third = room.open("mic", position=11_000)
    third.push(data[4 * 11_000 :])
    room.end("mic", third)
    assert not room.ears.gaps("mic")
    assert [f.frame for f in room.ears.frames("mic")] == list(range(10))
    assert all(shows(frame, sound) for frame in room.ears.frames("mic"))


def test_without_a_count_the_gap_is_the_time_it_was_gone(model: Path) -> None:
    room = Room(model)
    away_and_back(room, noise(40_000), 16_000, None, 16_000, gone_s=2.5)
    (gap,) = room.ears.gaps("mic")
    assert (gap.start, gap.lost_s) == (1.0, 2.5)
    assert room.ears.ends("mic")[0].seconds == 5.0


def test_the_place_of_the_next_sample_is_told(model: Path) -> None:
    room = Room(model)
    feed = room.open("mic", position=777)
    assert feed.position == 0  # a new stream begins at 0
    feed.push(b"\x00" * 4001)
    assert feed.position == 1000
    feed.disconnect()
    room.clock.now += 0.5
    back = room.open("mic")
    assert back.position == 9000
    back.push(b"\x00" * 400)
    assert back.position == 9100


def test_a_stream_with_its_history_differs_from_one_without(model: Path) -> None:
    """Its hidden state goes on; the control is a stream that begins at the break."""
    data = music(4, PLAIN, 1)
    room = Room(model, echo=False)
    first = room.open("mic")
    first.push(data[:100_000])
    first.disconnect()
    room.clock.now += 9.9
    room.work()
    back = room.open("mic", position=25_000)
    back.push(data[100_000:])
    room.end("mic", back)
    expected = alone(room.tagger, PLAIN, data)
    agree(room.ears.frames("mic"), expected)
    fresh = Session(room.tagger).feed(resampled(PLAIN, data)[24_576:])
    assert np.abs(fresh[2].probs - expected[8].probs).max() > 1e-3


def test_who_does_not_come_back_in_time_has_ended(model: Path) -> None:
    room = Room(model)
    feed = room.open("mic")
    feed.push(noise(16_000).tobytes())
    room.work()
    feed.disconnect()
    room.clock.now += 9.99
    room.work()
    assert not room.ears.ends("mic")
    assert room.engine.stats.disconnected == 1
    room.clock.now += 0.02
    room.work()
    assert feed.has_ended
    assert room.ears.ends("mic")[0].seconds == 1.0
    assert room.on_writable == []  # there is nobody who could be
    assert room.engine.stats.streams == room.engine.stats.disconnected == len(room.pool) == 0
    again = room.open("mic", position=16_000)
    assert again.position == 0


def test_a_break_in_time_counts_anew(model: Path) -> None:
    room = Room(model)
    feed = room.open("mic")
    for _ in range(4):
        feed.disconnect()
        room.clock.now += 8
        room.work()
        feed = room.open("mic", position=0)
    assert not room.ears.ends("mic")
    assert [stream.is_disconnected for stream in room.engine.streams] == [False]


def test_a_name_that_is_connected_is_taken(model: Path) -> None:
    room = Room(model)
    feed = room.open("mic")
    with pytest.raises(NameTaken, match="mic"):
        room.open("mic")
    feed.disconnect()
    room.open("mic", position=0)
    with pytest.raises(NameTaken):
        room.open("mic")


def test_a_stream_that_is_about_to_end_is_not_gone_on_with(model: Path) -> None:
    room = Room(model)
    feed = room.open("mic")
    feed.push(noise(16_000).tobytes())
    feed.end()
    with pytest.raises(Busy) as caught:
        room.open("mic")
    assert caught.value.retry_after_s == 1
    room.work()
    room.open("mic")


def test_the_old_connection_has_no_part_in_it_any_more(model: Path) -> None:
    sound = noise(20_000)
    room = Room(model)
    old = room.open("mic")
    old.push(sound[:10_000].tobytes())
    old.disconnect()
    new = room.open("mic", position=10_000)
    old.push(noise(9000, 1).tobytes())
    old.end()
    old.disconnect()
    room.work()
    new.push(sound[10_000:].tobytes())
    room.end("mic", new)
    assert all(shows(frame, sound) for frame in room.ears.frames("mic"))
    assert len(room.ears.frames("mic")) == 5


@pytest.mark.parametrize("other", [PcmFormat(44100, "s16le", 2), PcmFormat(16000, "s16le", 1), PcmFormat(8000)])
def test_another_format_is_another_count_but_the_same_time(model: Path, other: PcmFormat) -> None:
    first, second = music(1.5, PLAIN, 1), music(2, other, 2)
    room = Room(model, echo=False)
    feed = room.open("mic")
    feed.push(first)
    feed.disconnect()
    back = room.open("mic", other, position=round(1.5 * other.rate) + other.rate // 4)
    back.push(second)
    room.end("mic", back)
    (gap,) = room.ears.gaps("mic")
    assert gap.start == 1.5
    assert gap.lost_s == pytest.approx(0.25, abs=1e-4)
    session = Session(room.tagger)
    expected = session.feed(np.frombuffer(first, "<f4")) + session.insert_gap(4000)
    expected += session.feed(resampled(other, second)) + session.flush()
    agree(room.ears.frames("mic"), expected)


def test_a_format_that_changes_before_a_worker_has_come(model: Path) -> None:
    other = PcmFormat(16000, "s16le", 2)
    room = Room(model, echo=False)
    feed = room.open("mic")
    feed.push(music(0.5, PLAIN, 1))
    feed.disconnect()
    back = room.open("mic", other, position=8000)
    back.push(music(0.5, other, 2))
    room.end("mic", back)
    assert not room.ears.gaps("mic")
    sound = np.concatenate([resampled(PLAIN, music(0.5, PLAIN, 1)), resampled(other, music(0.5, other, 2))])
    agree(room.ears.frames("mic"), alone(room.tagger, PLAIN, sound.astype("<f4").tobytes()))


@pytest.mark.parametrize("position", [-1, 1 << 60])
def test_places_that_no_stream_has(model: Path, position: int) -> None:
    room = Room(model)
    with pytest.raises(SpecError, match="position"):
        room.open("mic", position=position)
    assert room.engine.stats.streams == 0


def test_a_gap_of_years_costs_nothing(model: Path) -> None:
    room = Room(model)
    feed = room.open("mic")
    feed.push(noise(5000).tobytes())
    feed.disconnect()
    back = room.open("mic", position=1 << 50)
    back.push(noise(9000).tobytes())
    room.end("mic", back)
    assert room.ears.gaps("mic")[0].lost_s == ((1 << 50) - 5000) / RATE
    assert sum(room.pool._network.steps) < 20  # type: ignore[attr-defined]


def test_nothing_is_kept_where_nothing_is_to_be(model: Path) -> None:
    room = Room(model, spec=SchedulerConfig(batch_window_s=0, reconnect_grace_s=0))
    feed = room.open("mic")
    feed.push(noise(100).tobytes())
    feed.disconnect()
    room.work()
    assert feed.has_ended
    with pytest.raises(UnknownStream):
        room.engine.export_state("mic")
