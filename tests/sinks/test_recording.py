"""A recording has every message with its time, whole from the first line on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.errors import OutputError
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Hello
from streamtag.protocol.reader import parse
from streamtag.sinks.jsonl import MessageRecorder

TAGS = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * 6)
STREAM = StreamInfo("mic")
TIMELINE = Timeline("mic", TAGS)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_message_is_recorded_with_its_time(
    tmp_path: Path,
    make_messages: Callable[..., list[Frame]],
    probs: NDArray[np.float64],
) -> None:
    path, clock = tmp_path / "r.jsonl", count(100.0, 0.25)
    with MessageRecorder(path, HELLO, pytest.fail, clock=lambda: next(clock)) as record:
        record.begin(STREAM, TIMELINE)
        record.write(make_messages(probs)[0])
        record.write(Event("mic", "guitar", "on", 0.256))
        record.write(Gap("mic", 7.1, 0.3))
        record.write(Error("unplugged", "mic"))
        record.write(End("mic", 10.0, 40, {}))
    lines = _lines(path)
    assert [line["type"] for line in lines] == ["hello", "frame", "event", "gap", "error", "end"]
    assert [line["at"] for line in lines] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    assert list(lines[1]["tags"]) == list(TAGS)
    # `at` is a new field: whoever reads the protocol reads a recording
    assert parse(path.read_bytes().splitlines()[0]) == HELLO


def test_an_older_recording_stays_until_a_stream_begins(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("old", encoding="utf-8")
    with MessageRecorder(path, HELLO, pytest.fail):
        pass
    assert path.read_text(encoding="utf-8") == "old"
    with MessageRecorder(path, HELLO, pytest.fail) as record:
        record.begin(STREAM, TIMELINE)
    assert [line["type"] for line in _lines(path)] == ["hello"]


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
    assert [line.get("start") for line in _lines(path)[1:]] == list(range(50))


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    path, link = tmp_path / "song.wav", tmp_path / "link.wav"
    path.write_bytes(b"sound")
    os.link(path, link)
    with pytest.raises(OutputError, match="is one of the inputs"):
        MessageRecorder(path, HELLO, pytest.fail, inputs=[str(link)])
    assert path.read_bytes() == b"sound"
    MessageRecorder(
        path, HELLO, pytest.fail, inputs=[str(tmp_path / "other.wav")]
    )  # any other input is none of its business


@pytest.mark.parametrize("name", ["", "no/such/folder/r.jsonl", "x" * 300])
def test_a_path_that_cannot_be_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        MessageRecorder(tmp_path / name, HELLO, pytest.fail)


@pytest.fixture
def limit_file_size() -> Iterator[Callable[[int | None], None]]:
    """Return a function that makes the disk full beyond this many bytes of any file (None: no longer)."""
    resource = pytest.importorskip("resource", reason="needs limits of the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)


@pytest.mark.parametrize("cut_at", [0, 1, 40])
def test_recording_pauses_while_the_disk_is_full(
    tmp_path: Path, limit_file_size: Callable[[int | None], None], cut_at: int
) -> None:
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
    assert [line.get("start") for line in _lines(path)] == [None, 0.0, 4.0]
    assert record.unrecorded == 4
    assert reports == [
        f"{path}: cannot write: file too large; recording resumes when it can be written again",
        f"{path}: 4 messages could not be recorded",
    ]


def test_hello_comes_first_if_the_disk_was_full_from_the_start(
    tmp_path: Path, limit_file_size: Callable[[int | None], None]
) -> None:
    path, reports = tmp_path / "r.jsonl", list[str]()
    limit_file_size(50)
    with MessageRecorder(path, HELLO, reports.append) as record:
        record.begin(STREAM, TIMELINE)
        record.write(Gap("mic", 1.0, 0.5))
        limit_file_size(None)
        record.write(Gap("mic", 2.0, 0.5))
    assert [(line["type"], line.get("start")) for line in _lines(path)] == [("hello", None), ("gap", 2.0)]
    assert (record.unrecorded, len(reports)) == (1, 2)


def test_recording_begins_when_a_missing_folder_is_back(tmp_path: Path) -> None:
    folder, reports = tmp_path / "stick", list[str]()
    folder.mkdir()
    path = folder / "r.jsonl"
    with MessageRecorder(path, HELLO, reports.append) as record:
        folder.rmdir()
        record.begin(STREAM, TIMELINE)
        record.write(Gap("mic", 1.0, 0.5))
        folder.mkdir()
        record.write(Gap("mic", 2.0, 0.5))
        record.close()
    assert [line.get("start") for line in _lines(path)] == [None, 2.0]
    assert "no such file" in reports[0]
    assert reports[1:] == [f"{path}: 1 message could not be recorded"]
