"""`streamtag history`: tables, JSON and files of what was heard, beside a writer, and of what is no history."""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from streamtag.history.reader import HistoryReader
from streamtag.history.schema import open_for_writing
from tests.cli.conftest import Run
from tests.history.sample import DAY_S, write_sample

FROM_AT, TO_AT = datetime(2026, 11, 26).timestamp(), datetime(2026, 11, 27, 12).timestamp()  # in the local zone
DAY = ("--since", "2026-11-26", "--until", "2026-11-27 12:00")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "h.sqlite"
    write_sample(path, 2, ("club", "radio"), seed=2)
    return path


@pytest.fixture
def show(streamtag: Run) -> Run:
    def run(*arguments: str | Path, **_: Any) -> Any:
        return streamtag("history", *arguments, small=False)

    return run


def test_a_table_for_people(show: Run, sample: Path) -> None:
    answer = show(sample, *DAY, "--stream", "RADIO", "--concepts", "Drums,piano")
    assert (answer.code, answer.err) == (0, "")
    span, blank, stream, heading, *rows = answer.out.splitlines()
    assert (span, blank) == ("2026-11-26 00:00 to 2026-11-27 12:00", "")
    assert stream.startswith("radio  heard ")
    assert heading.split() == ["concept", "present", "share", "times", "first", "last"]
    assert sorted(row.replace("instruments", "").split()[0] for row in rows) == ["drums", "piano"]


def test_json_has_what_the_reader_finds(show: Run, sample: Path) -> None:
    answer = show(sample, *DAY, "--json")
    assert (answer.code, answer.err) == (0, "")
    body = json.loads(answer.out)
    assert (body["from"], body["to"]) == (FROM_AT, TO_AT)
    assert [stream["stream"] for stream in body["streams"]] == ["club", "radio"]
    with HistoryReader(sample) as reader:
        found = list(reader.presences(body["from"], body["to"], ["club"], ["drums"]))
    (drums,) = (each for each in body["streams"][0]["concepts"] if each["concept"] == "drums")
    seconds = sum(min(each.off_at, body["to"]) - max(each.on_at, body["from"]) for each in found)
    assert (drums["times"], drums["seconds"]) == (len(found), pytest.approx(seconds, abs=0.01))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_row_per_presence(show: Run, sample: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"day.{suffix}"
    answer = show(sample, *DAY, "--out", path)
    with HistoryReader(sample) as reader:
        expected = list(reader.presences(FROM_AT, TO_AT))
    assert (answer.code, answer.err) == (0, f"streamtag: wrote {path}\n")
    if suffix == "csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
        times = [datetime.fromisoformat(row["on_at"]).timestamp() for row in rows]
    elif suffix == "jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        times = [row["on_at"] for row in rows]
    else:
        frame = pd.read_parquet(path)
        rows, times = frame.to_dict("records"), [at.timestamp() for at in frame["on_at"]]
    assert len(rows) == len(expected)
    assert times == pytest.approx([each.on_at for each in expected], abs=0.002)
    names = ["stream", "concept", "category", "on_at", "off_at", "seconds", "session", "peak", "mean"]
    assert list(rows[0]) == names
    for row, each in zip(rows[:50], expected, strict=False):
        assert (row["stream"], row["concept"], row["category"], int(row["session"])) == (
            each.stream,
            each.concept,
            each.category,
            each.session,
        )
        figures = [float(row[name]) for name in ("seconds", "peak", "mean")]
        assert figures == pytest.approx([each.off_at - each.on_at, each.peak, each.mean], abs=0.001)


def test_a_picture(show: Run, sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "day.png"
    answer = show(sample, *DAY, "--plot", path, "--concepts", "drums")
    assert (answer.code, answer.err) == (0, f"streamtag: wrote {path}\n")
    assert path.read_bytes().startswith(b"\x89PNG")
    answer = show(sample, "--since", "2026-01-01", "--plot", tmp_path / "year.png")
    assert answer.code == 2
    assert "at most 31 days" in answer.err
    assert not (tmp_path / "year.png").exists()


def test_by_default_the_last_day_and_of_an_old_history_its_last_day(show: Run, tmp_path: Path) -> None:
    now, path = time.time(), tmp_path / "new.sqlite"
    write_sample(path, 2, ("club",), end_at=now - 3600)
    body = json.loads(show(path, "--json").out)
    assert body["to"] - body["from"] == pytest.approx(DAY_S)
    assert body["to"] == pytest.approx(now, abs=60)
    old = tmp_path / "old.sqlite"
    write_sample(old, 2, ("club",), end_at=now - 9 * DAY_S)
    answer = show(old, "--json")
    assert answer.err.startswith(f"streamtag: {old}: nothing in the last 24 hours; this is the day before ")
    assert answer.err.count("\n") == 1
    assert json.loads(answer.out)["to"] == pytest.approx(now - 9 * DAY_S, abs=0.01)


def test_a_range_without_anything_is_no_error(show: Run, sample: Path, tmp_path: Path) -> None:
    old = ("--since", "2020-01-01", "--until", "2020-01-02")
    answer = show(sample, *old)
    assert (answer.code, answer.out) == (0, "")
    assert f"{sample}: nothing was heard from 2020-01-01 00:00 to 2020-01-02 00:00; it goes from 2026-" in answer.err
    answer = show(sample, *old, "--json", "--out", tmp_path / "t.csv")
    assert json.loads(answer.out)["streams"] == []
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1
    open_for_writing(tmp_path / "empty.sqlite").close()
    answer = show(tmp_path / "empty.sqlite")
    assert (answer.code, answer.out, answer.err.count("\n")) == (0, "", 1)
    assert answer.err.endswith(": it is empty\n")


def _other(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")


def _newer(path: Path) -> None:
    with closing(open_for_writing(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _cut(path: Path) -> None:
    write_sample(path, 0.5, ("a",))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, "no such file, not a history"),
        (Path.mkdir, "is a folder, not a history"),
        (lambda path: path.write_bytes(b"RIFF" * 1000), "not a history, but another file"),
        (Path.touch, "not a history"),
        (_other, "not a history, but the database of another program"),
        (_newer, "a history of a newer streamtag (version 99, known: 1)"),
        (_cut, "a damaged database: database disk image is malformed"),
    ],
)
def test_what_is_no_history_is_one_line(show: Run, tmp_path: Path, make: Any, reason: str) -> None:
    path = tmp_path / "h"
    make(path)
    answer = show(path, "--json", "--out", tmp_path / "t.csv")
    assert (answer.code, answer.out, answer.err) == (1, "", f"streamtag: {path}: {reason}\n")
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--stream", "raido"), "raido: not a stream of this history (did you mean 'radio'?)"),
        (("--concepts", "drums,organ"), "organ: not a concept of this history"),
        (("--since", "soon"), "'soon' is not a time: give 2026-11-27"),
        (("--since", "1h", "--until", "2h"), "--since must be before --until"),
        (("--plot", "day.gif"), "day.gif: cannot draw: the name must end in one of .png, .svg, .pdf"),
        (("--out", "day.xlsx"), "day.xlsx: a table ends in .csv, .jsonl or .parquet"),
    ],
)
def test_wrong_usage(show: Run, sample: Path, arguments: tuple[str, ...], reason: str) -> None:
    answer = show(sample, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"streamtag history: {reason}")
    assert answer.err.endswith("\ntry: streamtag history --help\n")
