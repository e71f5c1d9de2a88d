"""A stream moves to another scheduler and none of its frames differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from streamtag.audio.pcm import PcmFormat
from streamtag.protocol.messages import Event
from streamtag.scheduler.config import SchedulerConfig
from streamtag.scheduler.registry import NameTaken, UnknownStream
from streamtag.scheduler.stats import Busy
from tests.scheduler.harness import (
    PLAIN,
    TOLERANCE,
    Harness,
    assert_equal_frames,
    exported,
    exported_state,
    imported,
    load_tagger,
    music,
    noise,
    reference_frames,
)

FORMATS = [
    PLAIN,
    PcmFormat(44100, "f32le", 2),
    PcmFormat(48000, "s16le", 1),
    PcmFormat(8000, "s16le", 3),
    PcmFormat(96000, "f32le", 1),
    PcmFormat(44101, "s16le", 1),
]


@pytest.mark.parametrize(
    ("format", "cut_s"), [*((format, 1.937) for format in FORMATS), (FORMATS[0], 0.0), (FORMATS[1], 0.1)], ids=str
)
def test_a_stream_continues_elsewhere_as_if_it_had_stayed(model: Path, format: PcmFormat, cut_s: float) -> None:
    data = music(3, format, 1)
    here, there, unmoved = (Harness(model, echo=False) for _ in range(3))
    there.open("another").push(music(1, PLAIN, 7))
    producer = here.open("mic", format)
    cut = round(cut_s * format.rate) * format.sample_bytes + format.sample_bytes // 2
    producer.push(data[:cut])
    here.run_all()
    position = imported(there, "mic", exported(here, "mic"))
    assert position == producer.position  # all that was sent is in the state
    moved = there.open("mic", format, position)
    assert moved.position == position
    moved.push(data[position * format.sample_bytes :])
    there.end("mic", moved)
    frames, reference = here.log.frames("mic") + there.log.frames("mic"), reference_frames(here.tagger, format, data)
    # above a low rate's own audio there is nothing but rounding, and the network is fed its logarithm
    assert_equal_frames(frames, reference, TOLERANCE if format.rate >= 16000 else 5 * TOLERANCE)
    assert not there.log.gaps("mic")
    stayed = unmoved.open("mic", format)
    stayed.push(data)
    unmoved.end("mic", stayed)
    messages = here.log.of("mic") + there.log.of("mic")
    assert events_of(messages) == events_of(unmoved.log.of("mic"))
    end, expected = there.log.ends("mic")[0], unmoved.log.ends("mic")[0]
    assert (end.seconds, end.frames) == (expected.seconds, expected.frames)
    assert end.summary == pytest.approx(expected.summary, abs=5 * TOLERANCE)
    assert end.present_s == pytest.approx(expected.present_s)


def events_of(messages: Sequence[object]) -> list[Event]:
    return [message for message in messages if isinstance(message, Event)]


def test_without_its_state_it_would_be_another_stream(model: Path) -> None:
    """The negative control: the rest alone gives other frames."""
    data, tagger = music(4, PLAIN, 1), load_tagger(model)
    expected = reference_frames(tagger, PLAIN, data)
    fresh = reference_frames(tagger, PLAIN, data[4 * 8 * 4096 :])
    differences = [np.abs(a.probs - b.probs).max() for a, b in zip(fresh[:3], expected[8:], strict=False)]
    assert min(differences) > 10 * TOLERANCE


@pytest.mark.parametrize("is_in_gap", [True, False])
@pytest.mark.parametrize("format", FORMATS[:3], ids=str)
def test_a_stream_that_lost_audio_can_move(model: Path, format: PcmFormat, is_in_gap: bool) -> None:
    """In the middle of a gap the silence is processed first; after it a new resampler moves."""
    data, size, rate = music(4, format, 3), format.sample_bytes, format.rate
    unmoved, here, there = (Harness(model, echo=False) for _ in range(3))
    for harness in (unmoved, here):
        producer = harness.open("mic", format)
        producer.push(data[: rate * size])
        harness.run_all()
        producer.disconnect()
        producer = harness.open("mic", format, position=2 * rate)
        if harness is unmoved:
            producer.push(data[2 * rate * size :])
            harness.end("mic", producer)
        elif not is_in_gap:
            producer.push(data[2 * rate * size : 3 * rate * size])
    here.run_one() if is_in_gap else here.run_all()
    position = imported(there, "mic", exported(here, "mic"))
    assert not is_in_gap or position == 2 * rate
    moved = there.open("mic", format, position)
    moved.push(data[position * size :])
    there.end("mic", moved)
    together, expected = here.log.frames("mic") + there.log.frames("mic"), unmoved.log.frames("mic")
    assert [frame.frame for frame in together] == [frame.frame for frame in expected]
    for frame, other in zip(together, expected, strict=True):
        np.testing.assert_allclose([*frame.tags.values()], [*other.tags.values()], atol=TOLERANCE)
    assert here.log.gaps("mic") == unmoved.log.gaps("mic")


def test_an_export_does_not_wait_until_all_audio_is_processed(harness: Harness) -> None:
    harness.open("file").push(noise(60 * 16000).tobytes())
    harness.run_one()
    future = harness.scheduler.export_state("file")
    harness.run_one()
    assert future.done()
    assert harness.scheduler.streams[0].waiting_s > 50


def test_an_imported_stream_waits_for_its_producer_and_no_longer(harness: Harness, echo_state: bytes) -> None:
    imported(harness, "mic", echo_state)
    assert [stream.is_disconnected for stream in harness.scheduler.streams] == [True]
    assert harness.scheduler.stats.disconnected == 1
    harness.clock.now += 10.1
    harness.run_all()
    assert harness.scheduler.stats.streams == len(harness.pool) == 0
    assert len(harness.log.ends("mic")) == 1


def test_an_unknown_stream_has_no_state(harness: Harness) -> None:
    with pytest.raises(UnknownStream, match="nobody"):
        harness.scheduler.export_state("nobody")
    producer = harness.open("mic")
    producer.push(music(1, PLAIN))
    producer.end()
    future = harness.scheduler.export_state("mic")  # asked in time, but it ends
    harness.run_all()
    assert future.exception(0) is None or isinstance(future.exception(0), UnknownStream)
    assert producer.has_ended
    with pytest.raises(UnknownStream):
        harness.scheduler.export_state("mic")


def test_an_import_reserves_its_name_and_its_place(model: Path, echo_state: bytes) -> None:
    harness = Harness(model, config=SchedulerConfig(batch_window_s=0, max_streams=2))
    producer = harness.open("mic")
    with pytest.raises(NameTaken):
        harness.scheduler.import_state("mic", echo_state)
    first = harness.scheduler.import_state("other", echo_state)
    with pytest.raises(NameTaken):
        harness.scheduler.import_state("other", echo_state)
    with pytest.raises(Busy):
        harness.open("other")  # on its way here
    with pytest.raises(Busy):
        harness.scheduler.import_state("third", echo_state)
    harness.run_all()
    first.result(0)
    harness.end("mic", producer)
    imported(harness, "third", echo_state)


def test_imports_and_exports_can_be_cancelled(harness: Harness, echo_state: bytes) -> None:
    future = harness.scheduler.import_state("mic", echo_state)
    assert future.cancel()
    harness.run_all()
    assert harness.scheduler.stats.streams == len(harness.pool) == 0
    harness.open("mic")
    state = harness.scheduler.export_state("mic")
    assert state.cancel()
    harness.run_all()
    assert exported(harness, "mic")


@pytest.mark.parametrize("format", [PLAIN, PcmFormat(384_000, "f32le", 8)], ids=str)
def test_a_state_is_small(model: Path, format: PcmFormat) -> None:
    assert len(exported_state(model, format)) < 450_000
