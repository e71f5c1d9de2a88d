"""Messages as JSON lines: printed at once, or recorded with their times, whole from the first line on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Error, Frame, Gap, Hello
from streamtag.protocol.reader import parse
from streamtag.protocol.selection import Selection
from streamtag.sinks.jsonl import JsonLines, MessageRecorder
from tests.conftest import LimitFileSize

HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp"), 16000, 0.256, 0.512, 0.384, (0.5, 0.5))
STREAM, TIMELINE = StreamInfo("mic"), Timeline("mic", HELLO.tags)


class Unflushed(io.StringIO):
    """Counts what is written and not flushed."""

    pending = 0

    def write(self, text: str) -> int:
        self.pending += len(text)
        return super().write(text)

    def flush(self) -> None:
        self.pending = 0
        super().flush()


def _parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _starts(path: Path) -> list[float | None]:
    return [line.get("start") for line in _parsed(path.read_text(encoding="utf-8"))]


def test_each_message_is_a_line_that_is_flushed(frames: list[Frame], selection: Selection) -> None:
    file = Unflushed()
    lines = JsonLines(file, selection)
    lines.write(frames[0])
    assert file.pending == 0  # the reader of a pipe has it
    lines.write(End("song.mp3", 0.4, 2, {"guitar": 0.21, "harp": 0.12}))
    frame, end = _parsed(file.getvalue())
    assert frame["tags"] == dict(zip(selection.tags, [0.2, 0.05, 0.9, 0.05, 0.05, 0.12], strict=True))
    assert (end["frames"], end["seconds"], end["summary"]) == (2, 0.4, {"guitar": 0.21, "harp": 0.12})


def test_every_message_is_recorded_with_its_time(tmp_path: Path, frames: list[Frame]) -> None:
    path, clock = tmp_path / "r.jsonl", count(100.0, 0.25)
    with MessageRecorder(path, HELLO, pytest.fail, clock=lambda: next(clock)) as record:
        record.begin(STREAM, TIMELINE)
        for message in (frames[0], Gap("mic", 7.1, 0.3), Error("unplugged", "mic"), End("mic", 10.0, 40, {})):
            record.write(message)
    lines = _parsed(path.read_text(encoding="utf-8"))
    assert [line["type"] for line in lines] == ["hello", "frame", "gap", "error", "end"]
    assert [line["at"] for line in lines] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert list(lines[1]["tags"]) == list(frames[0].tags)
    # `at` is a new field: a reader of the protocol can read a recording
    assert parse(path.read_bytes().splitlines()[0]) == HELLO


def test_an_older_recording_stays_until_a_stream_begins(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("old", encoding="utf-8")
    with MessageRecorder(path, HELLO, pytest.fail):
        pass
    assert path.read_text(encoding="utf-8") == "old"
    with MessageRecorder(path, HELLO, pytest.fail) as record:
        record.begin(STREAM, TIMELINE)
    assert _starts(path) == [None]


def test_a_process_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    program = f"""
import os
from pathlib import Path
from streamtag.protocol.messages import Gap, Hello
from streamtag.sinks.jsonl import MessageRecorder
record = MessageRecorder(Path({str(path)!r}), Hello("s", "m", ("a",), 16000, 0.256, 0.512, 0.384, (0.5,)), print)
for number in range(50):
    record.write(Gap("mic", number, 0.5))
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    assert done.returncode == -9, done.stderr
    assert _starts(path)[1:] == list(range(50))


@pytest.mark.parametrize("cut_at", [0, 1, 40])
def test_recording_pauses_while_the_disk_is_full(tmp_path: Path, limit_file_size: LimitFileSize, cut_at: int) -> None:
    """cut_at: bytes of the next line for which there is space."""
    path, reports = tmp_path / "r.jsonl", list[str]()
    with MessageRecorder(path, HELLO, reports.append) as record:
        record.write(Gap("mic", 0.0, 0.5))
        whole = path.read_bytes()
        limit_file_size(len(whole) + cut_at)
        for start in (1.0, 2.0, 3.0):
            record.write(Gap("mic", start, 0.5))
            limit_file_size(None)
            assert path.read_bytes() == whole  # no half line
            limit_file_size(len(whole) + cut_at)
        assert record.unrecorded == 3
        limit_file_size(None)
        record.write(Gap("mic", 4.0, 0.5))
        limit_file_size(path.stat().st_size)
        record.write(End("mic", 5.0, 9, {}))
        limit_file_size(None)
    assert _starts(path) == [None, 0.0, 4.0]
    assert record.unrecorded == 4
    assert reports == [
        f"{path}: cannot write: file too large; recording resumes when it can be written again",
        f"{path}: 4 messages could not be recorded",
    ]


@pytest.mark.parametrize("obstacle", ["full disk", "no folder"])
def test_hello_comes_first_if_nothing_could_be_written_from_the_start(
    tmp_path: Path, limit_file_size: LimitFileSize, obstacle: str
) -> None:
    path, reports = tmp_path / "stick" / "r.jsonl", list[str]()
    path.parent.mkdir()
    with MessageRecorder(path, HELLO, reports.append) as record:
        if obstacle == "full disk":
            limit_file_size(50)
        else:
            path.parent.rmdir()
        record.begin(STREAM, TIMELINE)
        record.write(Gap("mic", 1.0, 0.5))
        limit_file_size(None)
        path.parent.mkdir(exist_ok=True)
        record.write(Gap("mic", 2.0, 0.5))
    assert _starts(path) == [None, 2.0]
    assert ("no such file" if obstacle == "no folder" else "too large") in reports[0]
    assert reports[1:] == [f"{path}: 1 message could not be recorded"]
