"""`streamtag file --write-tags`; --start and --duration, here and in Python: times count from the start of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest

from streamtag.api import Tagger
from streamtag.audio.decoder import open_source
from streamtag.inference.session import Session
from streamtag.spec import ConceptSpec
from tests.cli.conftest import MakeSound, Run, rows
from tests.conftest import save_model

HOP_S = 0.256


@pytest.fixture(scope="module")
def techno(tmp_path_factory: pytest.TempPathFactory) -> tuple[str | Path, ...]:
    """The options for a model to which everything is techno for all of its length."""
    concepts = [ConceptSpec("techno", "genre", ("guitar",), scale=0.0, threshold=0.4)]
    return "--model", save_model(tmp_path_factory.mktemp("model") / "techno.safetensors", concepts), "--device", "cpu"


def genre_of(path: Path) -> list[str]:
    file: Any = mutagen.File(path)
    return [] if file.tags is None else list(file.tags.get("TCON", []))


def test_genres_are_written_into_the_files_and_kept_there(
    streamtag: Run, make_sound: MakeSound, techno: tuple[str | Path, ...]
) -> None:
    first, second = make_sound("a.mp3", 2), make_sound("b.wav", 2)
    answer = streamtag("file", first, second, "--write-tags", "--summary", *techno, small=False)
    assert answer.code == 0
    assert answer.err.splitlines() == [f"streamtag: {path}: wrote the genre Techno" for path in (first, second)]
    assert genre_of(first) == genre_of(second) == ["Techno"]
    again = streamtag("file", first, "--write-tags", "--summary", *techno, small=False)
    assert again.err == f"streamtag: {first}: has the genre Techno already\n"


def test_a_file_that_breaks_off_is_left_alone(
    streamtag: Run, make_sound: MakeSound, techno: tuple[str | Path, ...]
) -> None:
    path = make_sound("a.wav", 2)
    before = path.read_bytes()
    assert streamtag("file", path, "--write-tags", "--start", "9", *techno, small=False).code == 1
    assert path.read_bytes() == before


def test_times_of_a_part_are_those_of_the_file(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    path, table, labels = make_sound(seconds=12), tmp_path / "t.csv", tmp_path / "l.txt"
    part = ("--start", "0:04.5", "--duration", "3", "--threshold", "0.0001")
    answer = streamtag("file", path, *part, "--json", "--csv", table, "--labels", labels)
    assert (answer.code, answer.err.count("\n")) == (0, 2)  # the files that were written
    messages = [json.loads(line) for line in answer.lines]
    frames = [message for message in messages if message["type"] == "frame"]
    assert [frame["frame"] for frame in frames] == list(range(12))
    assert [frame["start"] for frame in frames] == pytest.approx([4.5 - 0.256 + HOP_S * n for n in range(12)], abs=1e-3)
    assert (messages[-1]["seconds"], messages[-1]["frames"]) == (3, 12)
    assert [float(row["time"]) for row in rows(table)] == pytest.approx([4.5 + HOP_S * n for n in range(12)], abs=1e-3)
    spans = {tuple(map(float, line.split("\t")[:2])) for line in labels.read_text().splitlines()}
    assert spans == {(4.5, 7.5)}
    assert {message["time"] for message in messages if message["type"] == "event"} == {4.5, 7.5}


def test_a_part_in_python_is_that_part_alone(tagger: Tagger, make_sound: MakeSound) -> None:
    path = make_sound(seconds=9)
    result = tagger.tag(path, start=2.5, duration=4)
    with open_source(str(path)) as source:
        samples = np.concatenate(list(source))[40000:104000]
    session = Session(tagger)
    frames = session.feed(samples) + session.flush()
    np.testing.assert_allclose(result.probs, [frame.probs for frame in frames], atol=1e-5)
    np.testing.assert_allclose(result.times, [2.5 + frame.time for frame in frames])
    assert result.seconds == 4
    assert all(0 <= seconds <= 4 for seconds in result.present_s.values())


def test_a_start_behind_the_end_does_not_stop_the_others(streamtag: Run, make_sound: MakeSound) -> None:
    short, long = make_sound("short.wav", 2), make_sound("long.wav", 8)
    answer = streamtag("file", short, long, "--start", "5", "--json")
    assert answer.code == 1
    assert answer.err == f"streamtag: {short}: is 0:02 long: it has nothing from 0:05 on\n"
    assert json.loads(answer.lines[-1])["seconds"] == 3
