"""A producer disconnects and returns under its name: its stream continues, and what is missing is reported exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamtag.audio.pcm import PcmFormat
from streamtag.errors import SpecError
from streamtag.inference.session import Session
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.registry import NameTaken, UnknownStream
from streamtag.scheduler.stats import Busy
from tests.scheduler.harness import (
    PLAIN,
    RATE,
    Harness,
    assert_equal_frames,
    music,
    noise,
    reference_frames,
    resampled,
    shows,
)


def test_a_producer_is_told_its_position(model: Path) -> None:
    harness = Harness(model)
    producer = harness.open("mic", position=777)
    assert producer.position == 0  # a new stream begins at 0
    producer.push(b"\x00" * 4001)
    assert producer.position == 1000
    producer.disconnect()
    harness.clock.now += 0.5
    returned = harness.open("mic")
    assert returned.position == 9000
    returned.push(b"\x00" * 400)
    assert returned.position == 9100


def test_the_hidden_state_continues(model: Path) -> None:
    """The control is a stream that begins at the interruption."""
    data = music(4, PLAIN, 1)
    harness = Harness(model, echo=False)
    first = harness.open("mic")
    first.push(data[:100_000])
    first.disconnect()
    harness.clock.now += 9.9
    harness.run_all()
    returned = harness.open("mic", position=25_000)
    returned.push(data[100_000:])
    harness.end("mic", returned)
    expected = reference_frames(harness.tagger, PLAIN, data)
    assert_equal_frames(harness.log.frames("mic"), expected)
    fresh = Session(harness.tagger).feed(resampled(PLAIN, data)[24_576:])
    assert np.abs(fresh[2].probs - expected[8].probs).max() > 1e-3


def test_a_stream_ends_if_its_producer_does_not_return_in_time(model: Path) -> None:
    harness = Harness(model)
    producer = harness.open("mic")
    producer.push(noise(16_000).tobytes())
    harness.run_all()
    producer.disconnect()
    harness.clock.now += 9.99
    harness.run_all()
    assert not harness.log.ends("mic")
    assert harness.scheduler.stats.disconnected == 1
    harness.clock.now += 0.02
    harness.run_all()
    assert producer.has_ended
    assert harness.log.ends("mic")[0].seconds == 1.0
    assert harness.notified == []  # there is nobody to notify
    assert harness.scheduler.stats.streams == harness.scheduler.stats.disconnected == len(harness.pool) == 0
    again = harness.open("mic", position=16_000)
    assert again.position == 0


def test_the_time_to_return_begins_again_with_each_interruption(model: Path) -> None:
    harness = Harness(model)
    producer = harness.open("mic")
    for _ in range(4):
        producer.disconnect()
        harness.clock.now += 8
        harness.run_all()
        producer = harness.open("mic", position=0)
    assert not harness.log.ends("mic")
    assert [stream.is_disconnected for stream in harness.scheduler.streams] == [False]


def test_without_grace_a_disconnected_stream_ends_at_once(model: Path) -> None:
    harness = Harness(model, config=SchedulerConfig(batch_window_s=0, reconnect_grace_s=0))
    producer = harness.open("mic")
    producer.push(noise(100).tobytes())
    producer.disconnect()
    harness.run_all()
    assert producer.has_ended
    with pytest.raises(UnknownStream):
        harness.scheduler.export_state("mic")


def test_the_name_of_a_connected_producer_is_taken(model: Path) -> None:
    harness = Harness(model)
    producer = harness.open("mic")
    with pytest.raises(NameTaken, match="mic"):
        harness.open("mic")
    producer.disconnect()
    harness.open("mic", position=0)
    with pytest.raises(NameTaken):
        harness.open("mic")


def test_a_stream_that_is_about_to_end_is_not_continued(model: Path) -> None:
    harness = Harness(model)
    producer = harness.open("mic")
    producer.push(noise(16_000).tobytes())
    producer.end()
    with pytest.raises(Busy) as caught:
        harness.open("mic")
    assert caught.value.retry_after_s == 1
    harness.run_all()
    harness.open("mic")


def test_the_old_connection_has_no_effect_any_more(model: Path) -> None:
    sound = noise(20_000)
    harness = Harness(model)
    old = harness.open("mic")
    old.push(sound[:10_000].tobytes())
    old.disconnect()
    new = harness.open("mic", position=10_000)
    old.push(noise(9000, 1).tobytes())
    old.end()
    old.disconnect()
    harness.run_all()
    new.push(sound[10_000:].tobytes())
    harness.end("mic", new)
    assert all(shows(frame, sound) for frame in harness.log.frames("mic"))
    assert len(harness.log.frames("mic")) == 5


@pytest.mark.parametrize("other", [PcmFormat(44100, "s16le", 2), PcmFormat(16000, "s16le", 1), PcmFormat(8000)])
def test_another_format_is_another_count_of_the_same_time(model: Path, other: PcmFormat) -> None:
    first, second = music(1.5, PLAIN, 1), music(2, other, 2)
    harness = Harness(model, echo=False)
    producer = harness.open("mic")
    producer.push(first)
    producer.disconnect()
    returned = harness.open("mic", other, position=round(1.5 * other.rate) + other.rate // 4)
    returned.push(second)
    harness.end("mic", returned)
    (gap,) = harness.log.gaps("mic")
    assert gap.start == 1.5
    assert gap.lost_s == pytest.approx(0.25, abs=1e-4)
    session = Session(harness.tagger)
    expected = session.feed(np.frombuffer(first, "<f4")) + session.insert_gap(4000)
    expected += session.feed(resampled(other, second)) + session.flush()
    assert_equal_frames(harness.log.frames("mic"), expected)


@pytest.mark.parametrize("position", [-1, 1 << 60])
def test_impossible_positions_are_refused(model: Path, position: int) -> None:
    harness = Harness(model)
    with pytest.raises(SpecError, match="position"):
        harness.open("mic", position=position)
    assert harness.scheduler.stats.streams == 0


def test_a_gap_of_years_costs_nothing(model: Path) -> None:
    harness = Harness(model)
    producer = harness.open("mic")
    producer.push(noise(5000).tobytes())
    producer.disconnect()
    returned = harness.open("mic", position=1 << 50)
    returned.push(noise(9000).tobytes())
    harness.end("mic", returned)
    assert harness.log.gaps("mic")[0].lost_s == ((1 << 50) - 5000) / RATE
    assert sum(harness.steps) < 20
