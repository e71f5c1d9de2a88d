"""A recording has every message with its time, whole from the first line on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
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
from streamtag.sinks.recording import MessageRecorder

TAGS = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * 6)
STREAM = StreamInfo("mic")
TIMELINE = Timeline("mic", TAGS)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_message_is_there_with_its_time(
    tmp_path: Path,
    make_messages: Callable[..., list[Frame]],
    probs: NDArray[np.float64],
) -> None:
    path, clock = tmp_path / "r.jsonl", count(100.0, 0.25)
    with MessageRecorder(path, HELLO, clock=lambda: next(clock)) as record:
        record.begin(STREAM, TIMELINE)
        record.write(make_messages(probs)[0])
        record.write(Event("mic", "guitar", "on", 0.256))
        record.write(Gap("mic", 7.1, 0.3))
        record.write(Error("unplugged", "mic"))
        record.write(End("mic", 10.0, 40, {}))
    lines = _lines(path)
    assert [line["type"] for line in lines] == ["hello", "frame", "event", "gap", "error", "end"]
    assert [line["at"] for line in lines] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    assert list(lines[1]["tags"]) == list(TAGS)
    # `at` is a new field: whoever reads the protocol reads a recording
    assert parse(path.read_bytes().splitlines()[0]) == HELLO


def test_it_can_be_read_while_it_grows(
    tmp_path: Path, make_messages: Callable[..., list[Frame]], probs: NDArray[np.float64]
) -> None:
    path = tmp_path / "r.jsonl"
    with MessageRecorder(path, HELLO) as record:
        record.begin(STREAM, TIMELINE)
        assert [line["type"] for line in _lines(path)] == ["hello"]
        for number, frame in enumerate(make_messages(probs[:3])):
            record.write(frame)
            assert len(_lines(path)) == number + 2


def test_one_hello_is_enough_for_many_streams(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with MessageRecorder(path, HELLO) as record:
        for name in ("a", "b"):
            record.begin(StreamInfo(name), TIMELINE)
            record.write(Gap(name, 1.0, 0.5))
    assert [line["type"] for line in _lines(path)] == ["hello", "gap", "gap"]


def test_what_is_told_before_any_stream_begins_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with MessageRecorder(path, HELLO) as record:
        record.write(Error("no such device"))
    assert [line["type"] for line in _lines(path)] == ["hello", "error"]


def test_an_older_recording_stays_until_a_stream_begins(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("old", encoding="utf-8")
    with MessageRecorder(path, HELLO):
        pass
    assert path.read_text(encoding="utf-8") == "old"
    with MessageRecorder(path, HELLO) as record:
        record.begin(STREAM, TIMELINE)
    assert [line["type"] for line in _lines(path)] == ["hello"]


def test_a_process_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    program = f"""
import os
from pathlib import Path
from streamtag.protocol.messages import Gap, Hello
from streamtag.sinks.recording import MessageRecorder
record = MessageRecorder(Path({str(path)!r}), Hello("s", "m", ("a",), 16000, 0.256, 0.512, 0.384, (0.5,)))
for number in range(50):
    record.write(Gap("mic", number, 0.5))
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    assert done.returncode == -9, done.stderr
    assert [line.get("start") for line in _lines(path)[1:]] == list(range(50))


def test_its_own_source_is_not_written_over(tmp_path: Path) -> None:
    path, link = tmp_path / "song.wav", tmp_path / "link.wav"
    path.write_bytes(b"sound")
    os.link(path, link)
    with pytest.raises(OutputError, match="is one of the inputs"):
        MessageRecorder(path, HELLO, inputs=[str(link)])
    assert path.read_bytes() == b"sound"
    MessageRecorder(path, HELLO, inputs=[str(tmp_path / "other.wav")])  # any other input is none of its business


@pytest.mark.parametrize("name", ["", "no/such/folder/r.jsonl", "x" * 300])
def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        MessageRecorder(tmp_path / name, HELLO)


def test_a_place_that_is_gone_when_the_stream_begins_is_an_output_error(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    with MessageRecorder(folder / "r.jsonl", HELLO) as record:
        folder.rmdir()
        with pytest.raises(OutputError, match="cannot write"):
            record.begin(STREAM, TIMELINE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_output_error() -> None:
    with (
        pytest.raises(OutputError, match="/dev/full: cannot write: no space left on device"),
        MessageRecorder(Path("/dev/full"), HELLO) as record,
    ):
        record.begin(STREAM, TIMELINE)
