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
from tests.scheduler.harness import PLAIN, RATE, Harness, assert_equal_frames, music, noise, resampled, shows


def test_a_stream_ends_if_its_producer_does_not_return_in_time(harness: Harness) -> None:
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


def test_the_time_to_return_begins_again_with_each_interruption(harness: Harness) -> None:
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


def test_a_name_is_taken_while_its_producer_is_connected_or_its_stream_is_about_to_end(harness: Harness) -> None:
    producer = harness.open("mic")
    with pytest.raises(NameTaken, match="mic"):
        harness.open("mic")
    producer.disconnect()
    producer = harness.open("mic", position=0)
    with pytest.raises(NameTaken):
        harness.open("mic")
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
def test_impossible_positions_are_refused(harness: Harness, position: int) -> None:
    with pytest.raises(SpecError, match="position"):
        harness.open("mic", position=position)
    assert harness.scheduler.stats.streams == 0


def test_a_gap_of_years_costs_nothing(harness: Harness) -> None:
    producer = harness.open("mic")
    producer.push(noise(5000).tobytes())
    producer.disconnect()
    returned = harness.open("mic", position=1 << 50)
    returned.push(noise(9000).tobytes())
    harness.end("mic", returned)
    assert harness.log.gaps("mic")[0].lost_s == ((1 << 50) - 5000) / RATE
    assert sum(harness.steps) < 20
