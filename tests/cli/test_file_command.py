"""`streamtag file`: what comes out, where, with which exit code."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamtag as package
from streamtag.api import Tagger
from streamtag.audio.decoder import open_source
from streamtag.audio.prefetch import PrefetchReader
from streamtag.cli.file_runner import FileRunner
from streamtag.cli.runtime import Reporter, SignalGuard
from streamtag.errors import SourceError
from streamtag.inference.timeline import StreamInfo
from streamtag.protocol.messages import End, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import CallbackSink, SinkGroup

Run = Callable[..., Any]
MakeSound = Callable[..., Path]


def _messages(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- the table ------------------------------------------------------------------------------------------


def test_a_pipe_gets_one_plain_table_a_stream_and_nothing_else(streamtag: Run, make_sound: MakeSound) -> None:
    answer = streamtag("file", make_sound("a.wav", 5), make_sound("b.mp3", 3), "--top", "4")
    assert answer.code == 0
    assert answer.err == ""
    assert "\x1b" not in answer.out
    first, second, tail = answer.out.split("\n\n")
    assert first.splitlines()[0] == "a.wav  0:05  20 frames"
    assert second.startswith("b.mp3  0:0")
    assert len(first.splitlines()) == 2 + 4
    assert tail == ""


def test_the_table_is_that_of_the_library(streamtag: Run, make_sound: MakeSound, model: Path) -> None:
    path = make_sound("a.wav", 5)
    result = package.load(model, device="cpu").tag(path)
    strongest = max(result.summary, key=result.summary.__getitem__)
    words = streamtag("file", path).lines[2].replace("*", " ").split()
    assert " ".join(words[: len(strongest.split())]) == strongest
    assert float(words[len(strongest.split())]) == pytest.approx(result.summary[strongest], abs=0.006)


def test_tags_and_threshold_choose_and_mark(streamtag: Run, make_sound: MakeSound) -> None:
    path = make_sound()
    low = streamtag("file", path, "--tags", "Guitar, male vocal", "--threshold", "0.0001")
    high = streamtag("file", path, "--tags", "Guitar, male vocal", "--threshold", "0.9999")
    assert sorted(" ".join(line.replace("*", " ").split()[:-4]) for line in low.lines[2:4]) == [
        "guitar",
        "male vocal",
    ]
    assert [line[0] for line in low.lines[2:4]] == ["*", "*"]
    assert [line[0] for line in high.lines[2:4]] == [" ", " "]


# --- JSON -----------------------------------------------------------------------------------------------


def test_json_is_hello_then_each_stream_to_its_end(streamtag: Run, make_sound: MakeSound, model: Path) -> None:
    answer = streamtag("file", make_sound("a.wav", 5), make_sound("x/a.wav", 3, seed=1), "--json")
    hello, *messages = _messages(answer.lines)
    assert answer.code == 0
    assert hello["type"] == "hello"
    assert (hello["protocol"], hello["server"], hello["model"]) == (
        1,
        f"streamtag {package.__version__}",
        "small",
    )
    assert (hello["sample_rate"], hello["hop_s"], hello["window_s"], hello["lookahead_s"]) == (
        16000,
        0.256,
        0.512,
        0.384,
    )
    tags = hello["tags"]
    for name, seconds, frames in (("a.wav", 5, 20), ("a.wav (2)", 3, 12)):
        of_stream = [message for message in messages if message["stream"] == name]
        numbers = [message["frame"] for message in of_stream if message["type"] == "frame"]
        assert numbers == list(range(frames))
        assert of_stream[-1]["type"] == "end"
        assert (of_stream[-1]["frames"], of_stream[-1]["seconds"]) == (frames, seconds)
        assert all(list(message["tags"]) == tags for message in of_stream if message["type"] == "frame")
    path = make_sound("a.wav", 5)
    expected = package.load(model, device="cpu").tag(path)
    got = np.array([list(message["tags"].values()) for message in messages if message["type"] == "frame"][:20])
    np.testing.assert_allclose(got, expected.probs, atol=2e-4)


def test_events_switch_tags_on_and_off_in_turn(streamtag: Run, make_sound: MakeSound) -> None:
    answer = streamtag("file", make_sound(seconds=12), "--json", "--threshold", "0.45")
    events = [message for message in _messages(answer.lines) if message["type"] == "event"]
    assert events
    on: set[str] = set()
    for event in events:
        assert (event["tag"] in on) == (event["state"] == "off")
        on ^= {event["tag"]}
    assert not on  # the end closes what is open


def test_top_and_tags_thin_the_messages(streamtag: Run, make_sound: MakeSound) -> None:
    path = make_sound()
    for options, count in ((["--top", "3"], 3), (["--tags", "guitar"], 1)):
        frame = _messages(streamtag("file", path, "--json", *options).lines)[1]
        assert len(frame["tags"]) == count
        values = list(frame["tags"].values())
        assert values == sorted(values, reverse=True)


# --- files ----------------------------------------------------------------------------------------------


def test_csv_labels_and_plot_of_one_stream(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    table, labels, plot = tmp_path / "t.csv", tmp_path / "t.txt", tmp_path / "t.png"
    path = make_sound(seconds=8)
    answer = streamtag("file", path, "--csv", table, "--labels", labels, "--plot", plot, "--threshold", "0.45")
    assert (answer.code, answer.err) == (0, "")
    rows = _rows(table)
    assert len(rows) == 32
    assert len(rows[0]) == 4 + 50
    assert {row["stream"] for row in rows} == {"song.wav"}
    for line in labels.read_text(encoding="utf-8").splitlines():
        start, end, tag = line.split("\t")
        assert 0 <= float(start) < float(end) <= 8
        assert tag in rows[0]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert {entry.name for entry in tmp_path.iterdir()} == {"song.wav", "t.csv", "t.txt", "t.png"}


def test_several_streams_share_the_table_and_have_their_own_labels_and_plots(
    streamtag: Run, make_sound: MakeSound, tmp_path: Path
) -> None:
    make_sound("in/a.wav", 2)
    make_sound("in/deep/b.mp3", 2)
    out = tmp_path / "out"
    out.mkdir()
    answer = streamtag(
        "file", tmp_path / "in", "--csv", out / "t.csv", "--labels", out / "t.txt", "--plot", out / "t.svg"
    )
    assert answer.code == 0
    assert {entry.name for entry in out.iterdir()} == {"t.csv", "t-a.txt", "t-b.txt", "t-a.svg", "t-b.svg"}
    rows = _rows(out / "t.csv")
    assert {row["stream"] for row in rows} == {"a.wav", "b.mp3"}


def test_patterns_and_names_that_are_asked_for_twice(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    path = make_sound("a.wav", 1)
    make_sound("b.wav", 1)
    answer = streamtag("file", tmp_path / "*.wav", path, "--json")
    assert [message["stream"] for message in _messages(answer.lines) if message["type"] == "end"] == [
        "a.wav",
        "b.wav",
    ]


# --- one bad file among good ones -----------------------------------------------------------------------


def test_one_bad_file_does_not_stop_the_others(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    good, bad = make_sound("good.wav", 2), tmp_path / "bad.mp3"
    bad.write_text("no sound here\n" * 100, encoding="utf-8")
    answer = streamtag("file", tmp_path / "missing.wav", bad, good)
    assert answer.code == 1
    assert answer.lines[0].startswith("good.wav  0:02")
    assert [line.split(": ")[:2] for line in answer.err.splitlines()] == [
        ["streamtag", str(tmp_path / "missing.wav")],
        ["streamtag", str(bad)],
    ]


def test_in_json_errors_are_messages_too(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    good, bad = make_sound("good.wav", 2), tmp_path / "bad.mp3"
    bad.write_text("no sound here\n" * 100, encoding="utf-8")
    answer = streamtag("file", tmp_path / "missing.wav", bad, good, "--json")
    messages = _messages(answer.lines)
    assert answer.code == 1
    assert messages[0]["type"] == "hello"
    errors = [message["message"] for message in messages if message["type"] == "error"]
    assert [f"streamtag: {error}" for error in errors] == answer.err.splitlines()
    assert len(errors) == 2
    assert messages[-1]["type"] == "end"


class BrokenSource:
    """Decodes a source and fails at its ninth chunk."""

    def __init__(self, where: str) -> None:
        self._source = open_source(where)
        self.info, self.warnings = self._source.info, ["2 damaged packets skipped"]

    def __enter__(self) -> BrokenSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def __iter__(self) -> Iterator[Any]:
        for number, chunk in enumerate(self._source):
            if number == 8:
                raise SourceError("song.wav: broke off: nothing came for 10 s")
            yield chunk


def test_a_source_that_fails_in_the_middle_ends_its_stream_and_is_reported(
    make_sound: MakeSound, tagger: Tagger, capsys: pytest.CaptureFixture[str]
) -> None:
    published: list[Message] = []
    selection, reporter = Selection.of(tagger.tags, tagger.thresholds), Reporter(sys.stderr)

    def open_reader(where: str) -> PrefetchReader:
        return PrefetchReader(where, open_source=BrokenSource)  # type: ignore[arg-type]

    sinks = SinkGroup([CallbackSink(published.append)])
    runner = FileRunner(tagger, selection, sinks, False, reporter, SignalGuard(), open_reader)
    runner.run(str(make_sound(seconds=8)), StreamInfo("song.wav"))
    end = published[-1]
    assert isinstance(end, End)
    assert 0 < end.frames < 32
    assert reporter.has_failed
    assert capsys.readouterr().err.splitlines() == [
        "streamtag: song.wav: 2 damaged packets skipped",
        "streamtag: song.wav: broke off: nothing came for 10 s",
    ]


# --- pace, standard input, the model --------------------------------------------------------------------


def test_realtime_keeps_to_the_clock(streamtag: Run, make_sound: MakeSound) -> None:
    path = make_sound(seconds=2)
    began = time.monotonic()
    paced = streamtag("file", path, "--realtime", "--json")
    assert time.monotonic() - began >= 2.0
    free = streamtag("file", path, "--json")
    first, second = (
        [list(message["tags"].values()) for message in _messages(answer.lines) if message["type"] == "frame"]
        for answer in (paced, free)
    )
    np.testing.assert_allclose(first, second, atol=2e-4)


def test_standard_input(streamtag: Run, make_sound: MakeSound) -> None:
    answer = streamtag("file", "-", "--json", stdin=make_sound("a.mp3", 3).read_bytes())
    end = json.loads(answer.lines[-1])
    assert (answer.code, answer.err) == (0, "")
    assert end["stream"] == "stdin"
    assert end["seconds"] == pytest.approx(3, abs=0.15)
