"""`streamtag history`: tables, JSON and files of what was heard, beside a writer, and of what is no history."""

from __future__ import annotations

import json
import time
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


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        ("csv", pd.read_csv),
        ("jsonl", lambda path: pd.DataFrame(map(json.loads, path.read_text().splitlines()))),
        ("parquet", pd.read_parquet),
    ],
)
def test_a_row_per_presence(show: Run, sample: Path, tmp_path: Path, suffix: str, read: Any) -> None:
    path = tmp_path / f"day.{suffix}"
    answer = show(sample, *DAY, "--out", path)
    assert (answer.code, answer.err) == (0, f"streamtag: wrote {path}\n")
    with HistoryReader(sample) as reader:
        expected = list(reader.presences(FROM_AT, TO_AT))
    table = read(path)
    assert list(table) == ["stream", "concept", "category", "on_at", "off_at", "seconds", "session", "peak", "mean"]
    for name in ("stream", "concept", "category", "session"):
        assert table[name].tolist() == [getattr(each, name) for each in expected]
    if suffix != "jsonl":
        table["on_at"] = pd.to_datetime(table["on_at"], format="ISO8601").map(datetime.timestamp)
    table["off_at"] = table["on_at"] + table["seconds"]
    for name in ("on_at", "off_at", "peak", "mean"):
        assert table[name].tolist() == pytest.approx([getattr(each, name) for each in expected], abs=0.002)


def test_a_picture(show: Run, sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "day.png"
    answer = show(sample, *DAY, "--plot", path, "--concepts", "drums")
    assert (answer.code, answer.err) == (0, f"streamtag: wrote {path}\n")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_of_an_old_history_the_last_day_is_shown(show: Run, tmp_path: Path) -> None:
    path, end_at = tmp_path / "old.sqlite", time.time() - 9 * DAY_S
    write_sample(path, 2, ("club",), end_at=end_at)
    answer = show(path, "--json")
    assert answer.err.startswith(f"streamtag: {path}: nothing in the last 24 hours; this is the day before ")
    assert answer.err.count("\n") == 1
    body = json.loads(answer.out)
    assert (body["from"], body["to"]) == pytest.approx((end_at - DAY_S, end_at), abs=0.01)


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


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--stream", "raido"), "raido: not a stream of this history (did you mean 'radio'?)"),
        (("--concepts", "drums,organ"), "organ: not a concept of this history"),
        (("--since", "soon"), "'soon' is not a time: give 2026-11-27"),
        (("--out", "day.xlsx"), "day.xlsx: a table ends in .csv, .jsonl or .parquet"),
        (("--since", "2026-01-01", "--plot", "x.png"), "from and to lie at most 31 days apart"),
    ],
)
def test_wrong_usage(show: Run, sample: Path, arguments: tuple[str, ...], reason: str) -> None:
    answer = show(sample, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"streamtag history: {reason}")
    assert answer.err.endswith("\ntry: streamtag history --help\n")
