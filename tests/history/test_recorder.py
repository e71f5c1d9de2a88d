"""What is heard becomes rows with the times at which it sounded, at most two seconds later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streamtag.errors import OutputError
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import Event, Frame, Gap, Hello, History
from tests.history.conftest import HELLO, HOP_S, START_AT, Recording, end, frame, switch

PRESENCES = "SELECT concept, category, on_s, off_s, round(peak, 2), round(mean, 2) FROM heard"


def test_a_stream_becomes_a_session_with_presences_gaps_and_minutes(recording: Recording) -> None:
    recording.recorder.begin(StreamInfo("radio", source="http://radio.example/"), Timeline("radio", HELLO.tags))
    recording.play([frame(0), frame(1), frame(2, 0.8), switch(2, "on"), frame(3, 0.6), frame(4, 0.1), switch(4, "off")])
    recording.play([Gap("radio", 1.1, 0.5), *(frame(number) for number in range(7, 300)), end(300)])
    recording.recorder.close()
    columns = "name, source, start_at, last_at, last_s, frames, has_ended"
    sessions = recording.rows(f"SELECT {columns} FROM session JOIN stream ON stream_id = stream.id")
    assert sessions == [("radio", "http://radio.example/", START_AT, START_AT + 76.8, 76.8, 298, 1)]
    assert recording.rows(PRESENCES) == [("guitar", "instrument", 2 * HOP_S, 4 * HOP_S, 0.8, 0.7)]
    assert recording.rows("SELECT start_ms, lost_ms FROM gap") == [(1100, 500)]
    minutes = recording.rows("SELECT minute, frames, means FROM minute")
    assert [(minute, frames) for minute, frames, _ in minutes] == [(START_AT // 60, 233), (START_AT // 60 + 1, 65)]
    assert list(minutes[0][2]) == [round(255 * 1.5 / 233), 0, round(255 * 1.5 / 233), 0]  # tags, then concepts
    assert recording.reports == []


def test_the_minute_and_what_is_on_are_stored_within_two_seconds(recording: Recording) -> None:
    recording.play([frame(number, 0.9) for number in range(2)])
    recording.play([switch(1, "on")])
    recording.wait(1.0)
    assert recording.rows("SELECT frames, has_ended, last_s FROM session") == [(2, 0, HOP_S)]
    assert recording.rows(PRESENCES) == [("guitar", "instrument", HOP_S, None, 0.9, 0.9)]
    recording.play([frame(6, 1.0), frame(7, 0.5)])
    recording.wait(1.0)
    assert recording.rows("SELECT frames, means FROM minute") == [(4, bytes([210, 0, 210, 0]))]
    assert recording.rows(PRESENCES) == [("guitar", "instrument", HOP_S, None, 1.0, 0.8)]
    recording.play([frame(8)])  # less than a second ago
    assert recording.rows("SELECT last_s FROM session") == [(7 * HOP_S,)]


def test_a_live_stream_has_the_times_at_which_it_sounded(recording: Recording) -> None:
    recording.now = START_AT + 5
    recording.recorder.write(replace(frame(10), latency_s=0.75))
    recording.wait(1.0)
    assert recording.rows("SELECT start_at, start_s FROM session") == [(START_AT + 4.25, 10 * HOP_S)]


def test_a_file_has_times_as_if_it_was_played_however_fast_it_was_tagged(recording: Recording) -> None:
    for number in range(1000):
        recording.recorder.write(frame(number))
    recording.wait(1.0)
    ((start_at, last_at),) = recording.rows("SELECT start_at, last_at FROM session")
    assert last_at - start_at == pytest.approx(999 * HOP_S)
    assert start_at == pytest.approx(START_AT, abs=0.5)


def test_after_a_pause_a_stream_continues_in_another_session_with_what_is_on(recording: Recording) -> None:
    recording.play([frame(0, 0.9), frame(1, 0.9), switch(1, "on"), frame(2, 0.9)])
    recording.now += 3600
    recording.play([frame(3, 0.7), frame(4, 0.0), switch(4, "off"), end(5)])
    recording.recorder.close()
    sessions = recording.rows("SELECT start_s, last_s, has_ended, start_at FROM session")
    assert [row[:3] for row in sessions] == [(0.0, 2 * HOP_S, 1), (3 * HOP_S, 5 * HOP_S, 1)]
    assert [row[3] - START_AT for row in sessions] == pytest.approx([0.0, 3600.5], abs=0.3)
    spans = recording.rows("SELECT on_at, off_at FROM heard ORDER BY on_at")
    assert [off - on for on, off in spans] == [pytest.approx(HOP_S), pytest.approx(HOP_S)]
    assert spans[1][0] - spans[0][1] > 3599


@pytest.mark.parametrize("lost_s", [3600.0, 1.0])
def test_a_gap_is_no_pause(recording: Recording, lost_s: float) -> None:
    recording.play([frame(0), frame(1)])
    recording.now += lost_s
    after = round((0.4 + lost_s) / HOP_S) + 1
    recording.play([Gap("radio", 0.4, lost_s), frame(2), frame(after), frame(after + 1)])
    recording.recorder.close()
    assert recording.rows("SELECT frames FROM session") == [(5,)]


def test_a_stream_that_starts_anew_without_an_end_is_another_session(recording: Recording) -> None:
    recording.play([*(frame(number) for number in range(40)), switch(39, "on")])
    recording.play([frame(0), frame(1)])
    recording.recorder.close()
    assert recording.rows("SELECT frames, has_ended FROM session ORDER BY id") == [(40, 1), (2, 1)]
    assert recording.rows("SELECT off_s FROM heard") == [(39 * HOP_S,)]


def test_a_concept_that_goes_off_without_having_gone_on_was_on_from_the_first_frame(recording: Recording) -> None:
    recording.play([frame(100, 0.6), frame(104, 0.2), switch(104, "off")])
    recording.recorder.close()
    ((*_, on_s, off_s, peak, mean),) = recording.rows(PRESENCES)
    assert (on_s, off_s, peak, mean) == (25.6, 26.624, 0.2, 0.2)


def test_every_event_is_found_to_the_millisecond_also_before_the_first_frame(recording: Recording) -> None:
    """A history message tells events before its first frame. No time here is a whole number of milliseconds."""
    columns = {"guitar": (0.8, 0.8)}, {"guitar": (0.8, 0.8), "voice": (0.1, 0.1)}
    first = Event("radio", "guitar", "on", 11.9004, "guitar")
    past = History("radio", (12.3456, 12.6016), *columns, ("guitar",), (first,))
    recording.now = START_AT + 12.72505
    recording.play([past])
    expected = []
    for concept, on_s, off_s in (("guitar", 11.9004, 13.0006), ("voice", 13.3333, 1e5 + 0.7777), ("voice", 2e5, 1e6)):
        for state, at in (("on", on_s), ("off", off_s)):
            recording.now = START_AT + at
            recording.play([Event("radio", concept, "on" if state == "on" else "off", at, concept)])
        expected.append((concept, round(on_s, 3), round(off_s, 3)))
    recording.recorder.close()
    assert recording.rows("SELECT concept, on_s, off_s FROM heard ORDER BY on_s") == expected
    times = "(on_at - start_at) - (on_s - start_s), off_at <= last_at, (off_at - on_at) - (off_s - on_s)"
    for on_error, is_inside, error in recording.rows(f"SELECT {times} FROM heard JOIN session ON id = session_id"):
        assert (on_error, is_inside, error) == (pytest.approx(0, abs=1e-5), 1, pytest.approx(0, abs=1e-5))


def test_what_a_model_without_concepts_calls_a_tag_is_stored_as_a_concept_without_category(
    recording: Recording,
) -> None:
    recording.recorder.write(replace(HELLO, concepts=()))
    old = replace(frame(1, 0.8), concepts={})
    recording.play([old, Event("radio", "guitar", "on", HOP_S)])
    recording.recorder.close()
    assert [row[:2] + row[4:] for row in recording.rows(PRESENCES)] == [("guitar", "", 0.8, 0.8)]
    assert recording.rows("SELECT length(means) FROM minute") == [(2,)]


def test_a_subscriber_that_comes_late_learns_what_is_on_and_what_was(recording: Recording) -> None:
    times = tuple(number * HOP_S for number in range(400, 440))
    column, none = (0.8,) * 40, (0.0,) * 40
    past = History(
        "radio",
        times,
        {"guitar": column, "singing": none},
        {"guitar": column, "voice": none},
        ("guitar",),
        (switch(410, "on", "voice"), switch(430, "off", "voice")),
        (Gap("radio", 104.0, 0.5),),
    )
    recording.now = START_AT + times[-1]
    recording.play([past, frame(440, 0.8)])
    recording.wait(1.0)
    start_s, last_at, frames = recording.rows("SELECT start_s, last_at, frames FROM session")[0]
    assert (start_s, frames) == (times[0], 41)
    assert last_at == pytest.approx(recording.now - 1, abs=0.6)
    assert {row[:4] for row in recording.rows(PRESENCES)} == {
        ("guitar", "instrument", times[0], None),
        ("voice", "voice", 104.96, 110.08),
    }
    # after a short interruption only what is new is added, and what went off meanwhile is off
    times = tuple(number * HOP_S for number in range(420, 460))
    recording.play([replace(past, times=times, present=(), events=(switch(450, "off"),), gaps=())])
    recording.wait(1.0)
    assert recording.rows("SELECT frames FROM session") == [(60,)]
    assert recording.rows("SELECT off_s FROM heard WHERE mean > 0.7") == [(450 * HOP_S,)]


def test_old_rows_are_deleted_and_their_space_is_returned(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "h.sqlite", keep_days=1.0)
    for stream in ("old", "long"):
        recording.play([frame(0, stream=stream), switch(0, "on", stream=stream), frame(1, stream=stream)])
    for number in range(2, 20_000, 200):
        recording.play([frame(number, stream="long"), switch(number, "on", "voice", "long")])
        recording.play([Gap("long", number * HOP_S, 0.1), switch(number + 1, "off", "voice", "long")])
    recording.play([end(2, "old")])
    recording.wait(1.0)
    for number in range(20_000, 20_000 + round(2 * 86_400 / HOP_S), 400):
        recording.play([frame(number, stream="long")])
    for _ in range(20):
        recording.wait(1.0)
    assert recording.rows("SELECT name FROM stream") == [("long",)]
    assert recording.rows("SELECT count(*) FROM presence") == [(1,)]  # is still on
    assert recording.rows("SELECT count(*) FROM gap") == [(0,)]
    oldest = recording.rows("SELECT min(minute) FROM minute")[0][0] * 60
    assert 0 <= recording.now - 86_400 - oldest < 2 * 3600
    assert recording.rows("SELECT count(*) FROM pragma_freelist_count WHERE freelist_count > 50") == [(0,)]
    recording.recorder.close()


@pytest.mark.parametrize("message", [frame(0), switch(0, "on"), end(1), Gap("radio", 0.0, 1.0)])
def test_nothing_is_stored_before_the_first_hello(tmp_path: Path, message: Frame) -> None:
    recording = Recording(tmp_path / "h.sqlite")
    silent = recording.open()
    silent.write(message)
    silent.close()
    assert recording.rows("SELECT * FROM session") == []
    recording.recorder.close()


def test_a_position_without_a_date_is_ignored(recording: Recording) -> None:
    recording.play(
        [replace(frame(0), start=1e300, end=1e300), Gap("radio", 5.0, 1e300), Event("radio", "a", "on", -9.0)]
    )
    recording.recorder.close()
    assert recording.rows("SELECT * FROM session") == []


def test_another_model_starts_other_sessions(recording: Recording) -> None:
    other = Hello("streamtag", "other", ("harp",), 16000, HOP_S, 0.512, 0.384, (0.5,))
    recording.play([frame(0), HELLO, frame(1), other, Frame("radio", 2, 0.256, 0.768, {"harp": 1.0})])
    recording.recorder.close()
    assert recording.rows("SELECT name, frames FROM session JOIN model ON model_id = model.id ORDER BY session.id") == [
        ("small", 2),
        ("other", 1),
    ]


def test_what_is_no_history_ends_the_command_at_once(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    path.write_bytes(b"ID3\x03" * 100)
    with pytest.raises(OutputError, match="not a history"):
        Recording(path)
    with pytest.raises(OutputError, match="unable to open"):
        Recording(tmp_path / "no" / "folder")
