"""Recordings come back with their timing, whatever state their files are in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.errors import SourceError
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Hello, Message
from streamtag.protocol.reader import MAX_MESSAGE_CHARS
from streamtag.sinks.recording import Recording, TimedMessage

HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1))


def _frame(number: int, stream: str = "a") -> Frame:
    start, end = round(0.256 * number - 0.256, 3), round(0.256 * number + 0.256, 3)
    return Frame(stream, number, start, end, {"guitar": 0.5, "harp": 0.1})


def _line(message: Message, at: Any = None) -> bytes:
    return json.dumps(message.to_dict() | ({} if at is None else {"at": at})).encode() + b"\n"


def _written(folder: Path, lines: Iterable[bytes]) -> Path:
    path = folder / "r.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def _pass(path: Path) -> tuple[list[TimedMessage], int]:
    with Recording(path) as recording:
        return list(recording), recording.damaged


def _times(folder: Path, *lines: bytes) -> list[float]:
    return [entry.at for entry in _pass(_written(folder, [_line(HELLO), *lines]))[0]]


def test_messages_have_their_recorded_times(tmp_path: Path) -> None:
    messages = [_frame(0), Event("a", "harp", "on", 0.5), Gap("a", 1.0, 0.5), Error("no"), _frame(9)]
    lines = [_line(message, at) for message, at in zip(messages, [0.5, 0.5, 2, 2.25, 7.125], strict=True)]
    path = _written(tmp_path, [_line(HELLO, 0.0), *lines])
    with Recording(path) as recording:
        assert recording.hello == HELLO
        first, second = list(recording), list(recording)
    assert [entry.at for entry in first] == [0.5, 0.5, 2.0, 2.25, 7.125]
    assert [entry.message for entry in first] == messages
    assert second == first


@pytest.mark.parametrize(
    ("messages", "times"),
    [
        # A frame is there when the look-ahead after its window's centre has sounded
        (
            [_frame(0), _frame(4), Event("a", "harp", "on", 1.024), Gap("a", 2.0, 1.5), End("a", 4, 9, {})],
            [0.384, 1.408, 1.408, 3.5, 4.0],
        ),
        # A stream begins when the one before it ends
        (
            [_frame(0), End("a", 2.0, 8, {}), _frame(0, "b"), _frame(1, "b"), End("b", 1.0, 4, {}), _frame(0, "b")],
            [0.384, 2.0, 2.384, 2.64, 3.0, 3.384],
        ),
    ],
)
def test_without_recorded_times_stream_times_count(tmp_path: Path, messages: list[Message], times: list[float]) -> None:
    assert _times(tmp_path, *map(_line, messages)) == pytest.approx(times)


def test_simultaneous_streams_keep_their_timing(tmp_path: Path) -> None:
    """As a subscriber writes them who came when they were under way."""
    lines = [_frame(1000), _frame(50, "b"), _frame(1001), _frame(51, "b"), End("b", 13.5, 52, {}), _frame(1003)]
    first, *rest = _times(tmp_path, *map(_line, lines))
    assert [at - first for at in rest] == pytest.approx([0, 0.256, 0.256, 0.316, 0.768])


@pytest.mark.parametrize(
    ("lines", "times"),
    [
        # Joined recordings are replayed as one
        (
            [_line(_frame(0), 1.0), _line(HELLO, 0.0), _line(_frame(0), 1.0), _line(HELLO), _line(_frame(0))],
            [1.0, 1.0, 2.0, 2.0, 2.384],
        ),
        ([_line(_frame(0), at) for at in (3.0, 1.0, 4.0)], [3.0, 3.0, 4.0]),
    ],
)
def test_times_never_decrease(tmp_path: Path, lines: list[bytes], times: list[float]) -> None:
    assert _times(tmp_path, *lines) == pytest.approx(times)


@pytest.mark.parametrize("at", [-1.0, True, "soon", None, 10**400, 1e300, [1]])
def test_an_invalid_recorded_time_is_ignored(tmp_path: Path, at: Any) -> None:
    line = json.dumps({**_frame(0).to_dict(), "at": at}).encode() + b"\n"
    assert _times(tmp_path, line) == pytest.approx([0.384])


@pytest.mark.parametrize(
    ("between", "damaged"),
    [
        (b"nonsense\n", 2),
        (b'{"type":"frame"}\n', 2),
        (b"\xff\xfe\x00\n", 2),
        (b"[" * 100_000 + b"\n", 2),
        (b"x" * (3 * MAX_MESSAGE_CHARS) + b"\n", 2),
        (b"\r\n", 0),
        (b'{"type":"weather","rain":true}\n', 0),
    ],
)
def test_damaged_lines_are_skipped_and_counted_unlike_unknown_types(
    tmp_path: Path, between: bytes, damaged: int
) -> None:
    lines = [_line(HELLO), between, _line(_frame(0)), between, _line(_frame(1))]
    entries, found = _pass(_written(tmp_path, lines))
    assert [entry.message for entry in entries] == [_frame(0), _frame(1)]
    assert found == damaged


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_a_truncated_last_line_is_not_damage(tmp_path: Path, kept: int) -> None:
    entries, damaged = _pass(_written(tmp_path, [_line(HELLO), _line(_frame(0)), _line(_frame(1))[:kept]]))
    assert ([entry.message for entry in entries], damaged) == ([_frame(0)], 0)


def test_a_pass_includes_lines_that_were_appended(tmp_path: Path) -> None:
    path = _written(tmp_path, [_line(HELLO), _line(_frame(0))])
    with Recording(path) as recording:
        assert len(list(recording)) == 1
        assert recording.fraction == 1
        with path.open("ab") as file:
            file.write(_line(_frame(1)))
        assert len(list(recording)) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin with a hello"),
        (b"\n\n", "does not begin with a hello"),
        (_line(_frame(0)), "does not begin with a hello"),
        (b"ID3\x03\x00" + bytes(range(256)) * 40, "not a message: no JSON"),
        (_line(HELLO)[:40], "not a message: no JSON"),
        (_line(HELLO).replace(b'"protocol": 1', b'"protocol": 2'), "speaks protocol 2"),
        (b"x" * (2 * MAX_MESSAGE_CHARS), "too long"),
    ],
)
def test_a_file_that_is_not_a_recording_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=f"r.jsonl: not a recording: .*{reason}") as failure:
        Recording(_written(tmp_path, [content]))
    assert "\n" not in str(failure.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "none.jsonl", "no such file"),
        (tmp_path, "is a folder"),
        (Path("\0"), "null byte"),
    ]:
        with pytest.raises(SourceError, match=reason):
            Recording(path)


@given(st.lists(st.binary(max_size=60) | st.sampled_from([_line(HELLO, 0), _line(_frame(3), 1.5), b"\n"]), max_size=12))
def test_any_bytes_after_the_hello_are_replayed_or_skipped(parts: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        entries, damaged = _pass(_written(Path(folder), [_line(HELLO), *parts]))
    times = [entry.at for entry in entries]
    assert times == sorted(times)
    assert 0 <= damaged <= b"".join(parts).count(b"\n")
