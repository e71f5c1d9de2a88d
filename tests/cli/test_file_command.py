"""`streamtag file`: what comes out, where, with which exit code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamtag as package
from streamtag.api import Tagger
from streamtag.audio.decoder import SourceSpec, open_source
from streamtag.cli.file_runner import FileRunner
from streamtag.cli.runtime import Reporter, SignalGuard, select
from streamtag.errors import SourceError
from streamtag.inference.timeline import StreamInfo
from streamtag.protocol.messages import End, Message
from streamtag.sinks.base import CallbackSink, SinkGroup
from tests.catalog.conftest import Answer
from tests.cli.conftest import MakeSound, Run, rows
from tests.conftest import CONCEPTS, TAGS
from tests.fake_clock import FakeClock


def _messages(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def _marks(answer: Answer) -> dict[str, bool]:
    """Return the names in the only table, and whether each is marked."""
    heads = [line[: match.start()] for line in answer.lines if (match := re.search(r" +\d+%  ", line))]
    return {head.split("  ")[-1].strip("* "): "*" in head for head in heads}


def test_a_pipe_gets_one_plain_table_a_stream_and_nothing_else(streamtag: Run, make_sound: MakeSound) -> None:
    answer = streamtag("file", make_sound("a.wav", 5), make_sound("b.mp3", 3), "--top", "4", "--table")
    assert answer.code == 0
    assert answer.err == ""
    assert "\x1b" not in answer.out
    first, second, tail = answer.out.split("\n\n")
    assert first.startswith("a.wav  0:05  ")
    assert second.startswith("b.mp3  0:03  ")
    assert len(first.splitlines()) == 2 + 4 + 2
    assert tail == ""


def test_the_verdict_is_a_line_and_the_table_of_a_single_input_follows(streamtag: Run, make_sound: MakeSound) -> None:
    one, two = make_sound("a.wav", 2), make_sound("b.wav", 2)
    both = streamtag("file", one, two, "--concepts", "guitar,male vocal,tag 05", "--threshold", "0.0001")
    assert both.lines == ["a.wav  0:02  guitar; male vocal; tag 05", "b.wav  0:02  guitar; male vocal; tag 05"]
    single = streamtag("file", one, "--concepts", "guitar,male vocal,tag 05", "--threshold", "0.9999")
    assert single.lines[0] == "a.wav  0:02  nothing certain"
    assert _marks(single) == dict.fromkeys(("guitar", "male vocal", "tag 05"), False)
    assert streamtag("file", one, "--summary", "--threshold", "0.9999").out == "a.wav  0:02  nothing certain\n"


def test_concepts_are_shown_unless_tags_are_chosen(
    streamtag: Run, make_sound: MakeSound, tmp_path: Path, concept_model: Path
) -> None:
    def run(*arguments: str | Path) -> Answer:
        answer = streamtag("file", path, "--model", concept_model, "--device", "cpu", *arguments, small=False)
        assert answer.code == 0
        return answer

    path, names = make_sound(seconds=8), {concept.name for concept in CONCEPTS}
    shown = run("--labels", tmp_path / "concepts.txt", "--csv", tmp_path / "tags.csv", "--threshold", "0.0001")
    assert shown.lines[1].split()[:3] == ["concept", "on", "mean"]
    assert _marks(shown) == {name: name != "rare" for name in names}  # for which there is no evidence
    assert len(rows(tmp_path / "tags.csv")[0]) == 4 + 50
    labels = {line.split("\t")[2] for line in (tmp_path / "concepts.txt").read_text().splitlines()}
    assert labels == names - {"rare"}
    assert set(_marks(run("--concepts", "Rare,guitar"))) == {"rare", "guitar"}
    tags = run("--tags", "all", "--top", "50")
    assert tags.lines[1].split()[:3] == ["tag", "on", "mean"]
    assert set(_marks(tags)) == set(TAGS)
    hello, *messages = _messages(run("--json", "--tags", "male vocal").lines)
    assert hello["concepts"] == [
        {"name": each.name, "category": each.category, "tags": list(each.tags), "threshold": each.threshold}
        for each in CONCEPTS
    ]
    assert {(*m["tags"], *m["concepts"]) for m in messages if m["type"] == "frame"} == {("male vocal", "male vocals")}
    assert (list(messages[-1]["summary"]), list(messages[-1]["concepts"])) == (["male vocal"], ["male vocals"])


def test_json_is_hello_then_each_stream_to_its_end(streamtag: Run, make_sound: MakeSound, model: Path) -> None:
    answer = streamtag("file", make_sound("a.wav", 5), make_sound("x/a.wav", 3, seed=1), "--json")
    hello, *messages = _messages(answer.lines)
    assert answer.code == 0
    assert hello["type"] == "hello"
    assert (hello["protocol"], hello["server"], hello["model"]) == (1, f"streamtag {package.__version__}", "small")
    figures = [hello[name] for name in ("sample_rate", "hop_s", "window_s", "lookahead_s")]
    assert figures == [16000, 0.256, 0.512, 0.384]
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


def test_several_streams_share_the_table_and_have_other_files_of_their_own(
    streamtag: Run, make_sound: MakeSound, tmp_path: Path
) -> None:
    make_sound("in/a.wav", 5)
    make_sound("in/deep/b.mp3", 4)
    out = tmp_path / "out"
    out.mkdir()
    options = {"--csv": "t.csv", "--labels": "t.txt", "--segments": "t.json", "--plot": "t.svg"}
    files = [argument for option, name in options.items() for argument in (option, out / name)]
    answer = streamtag("file", tmp_path / "in", *files, "--start", "1")
    assert answer.code == 0
    written = [*(f"t-{stream}.{suffix}" for stream in "ab" for suffix in ("txt", "json", "svg")), "t.csv"]
    assert answer.err.splitlines() == [f"streamtag: wrote {out / name}" for name in written]
    assert {entry.name for entry in out.iterdir()} == set(written)
    assert {row["stream"] for row in rows(out / "t.csv")} == {"a.wav", "b.mp3"}
    chapters = json.loads((out / "t-a.json").read_text())["chapters"]
    assert (chapters[0]["startTime"], chapters[-1]["endTime"]) == (1, 5)


def test_one_bad_file_does_not_stop_the_others_and_in_json_errors_are_messages_too(
    streamtag: Run, make_sound: MakeSound, tmp_path: Path
) -> None:
    missing, good, bad = tmp_path / "missing.wav", make_sound("good.wav", 2), tmp_path / "bad.mp3"
    bad.write_text("no sound here\n" * 100, encoding="utf-8")
    answer = streamtag("file", missing, bad, good)
    assert answer.code == 1
    assert answer.lines[0].startswith("good.wav  0:02")
    assert [line.split(": ")[:2] for line in answer.err.splitlines()] == [
        ["streamtag", str(missing)],
        ["streamtag", str(bad)],
    ]
    answer = streamtag("file", missing, bad, good, good, "--json")
    messages = _messages(answer.lines)
    assert answer.code == 1
    assert messages[0]["type"] == "hello"
    errors = [message["message"] for message in messages if message["type"] == "error"]
    assert [f"streamtag: {error}" for error in errors] == answer.err.splitlines()
    assert len(errors) == 2
    assert [message["type"] for message in messages].count("end") == 1  # of the file that is named twice


class BrokenSource:
    """Decodes a source and fails at its ninth chunk."""

    def __init__(self, where: str, spec: SourceSpec) -> None:
        self._source = open_source(where, spec)
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
    selection, reporter = select(tagger), Reporter(sys.stderr)

    sinks = SinkGroup([CallbackSink(published.append)])
    runner = FileRunner(tagger, selection, sinks, False, reporter, SignalGuard(), SourceSpec(), BrokenSource)  # type: ignore[arg-type]
    runner.run(str(make_sound(seconds=8)), StreamInfo("song.wav"))
    end = published[-1]
    assert isinstance(end, End)
    assert 0 < end.frames < 32
    assert reporter.has_failed
    assert capsys.readouterr().err.splitlines() == [
        "streamtag: song.wav: 2 damaged packets skipped",
        "streamtag: song.wav: broke off: nothing came for 10 s",
    ]


@pytest.mark.parametrize("realtime", [True, False])
def test_realtime_keeps_to_the_clock(make_sound: MakeSound, tagger: Tagger, realtime: bool) -> None:
    clock, sent_at = FakeClock(), list[float]()
    began, sinks = clock.now, SinkGroup([CallbackSink(lambda _: sent_at.append(clock.now - began))])
    guard, reporter = SignalGuard(), Reporter(sys.stderr)
    runner = FileRunner(
        tagger, select(tagger), sinks, realtime, reporter, guard, SourceSpec(), clock=clock, sleep=clock.sleep
    )
    assert runner.run(str(make_sound(seconds=30)), StreamInfo("song.wav"))
    assert sent_at[-1] == pytest.approx(30.0 if realtime else 0.0)
    assert sent_at[len(sent_at) // 2] == pytest.approx(15.0 if realtime else 0.0, abs=2.0)


def test_standard_input(streamtag: Run, make_sound: MakeSound) -> None:
    answer = streamtag("file", "-", "--json", stdin=make_sound("a.mp3", 3).read_bytes())
    end = json.loads(answer.lines[-1])
    assert (answer.code, answer.err) == (0, "")
    assert end["stream"] == "stdin"
    assert end["seconds"] == pytest.approx(3, abs=0.15)
