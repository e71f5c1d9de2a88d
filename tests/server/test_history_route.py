"""GET /api/history: who gets it, what it says, and what goes wrong without harm."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import threading
import time
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamtag.history.bins import TimeBins, read_bins
from streamtag.server.auth import HttpError
from streamtag.server.history_route import HistoryRoute
from streamtag.server.query import RequestTarget
from tests.history.sample import END_AT, write_sample
from tests.server.support import LocalServer, Start, wait_until

HOUR = f"from={END_AT - 3600}&to={END_AT}&resolution=10"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "history.db"
    write_sample(path, 1, ["bar", "hall 2"])
    return path


@pytest.fixture
def server(start: Start, sample: Path) -> LocalServer:
    return start(history=sample)


def ask(server: LocalServer, query: str = HOUR) -> Any:
    answer, body = server.get(f"/api/history?{query}")
    assert answer.status == 200, body
    assert (answer.getheader("Content-Type"), answer.getheader("Cache-Control")) == ("application/json", "no-store")
    assert (answer.getheader("Content-Security-Policy") or "").startswith("default-src 'none'")
    return json.loads(body)


def refusal(server: LocalServer, query: str) -> tuple[int, str]:
    """Return status and the one line of a refused request."""
    answer, body = server.get(f"/api/history?{query}")
    assert body.endswith("\n")
    assert body.count("\n") == 1
    return answer.status, body.rstrip("\n")


def test_an_hour_of_all_streams(server: LocalServer, sample: Path) -> None:
    found = ask(server)
    expected = read_bins(sample, TimeBins(END_AT - 3600, END_AT, 10))
    assert (found["from"], found["to"], found["resolution"], found["left_out"]) == (END_AT - 3600, END_AT, 10, 0)
    assert (found["first_at"], found["last_at"]) == (END_AT - 86400, END_AT)
    assert abs(found["now"] - time.time()) < 60
    assert [each["stream"] for each in found["streams"]] == ["bar", "hall 2"]
    for stream, told in zip(expected.streams, found["streams"], strict=True):
        assert told["heard"] == [100] * 360
        assert (told["gap_count"], len(told["gaps"])) == (stream.gap_count, stream.gap_count)
        for concept, row in zip(stream.concepts, told["concepts"], strict=True):
            assert (row["concept"], row["category"]) == (concept.concept, concept.category)
            assert row["seconds"] == pytest.approx(concept.seconds, abs=0.001)
            assert row["present"] == pytest.approx(100 * concept.present, abs=1)
            assert all(isinstance(value, int) for value in row["present"])
            assert [value > 0 for value in row["present"]] == [value > 1e-6 for value in concept.present]


def test_one_stream_by_name_and_the_last_day_by_default(server: LocalServer) -> None:
    assert [each["stream"] for each in ask(server, f"stream={quote('hall 2')}&{HOUR}")["streams"]] == ["hall 2"]
    assert ask(server, f"stream=nobody&{HOUR}")["streams"] == []
    found = ask(server, "")
    assert (found["to"] - found["from"], found["resolution"]) == (86400, 300)
    assert abs(found["to"] - time.time()) < 60


def test_without_a_history_there_is_no_such_path(start: Start) -> None:
    server = start()
    assert server.get("/api/history")[0].status == 404
    assert "history" not in json.loads(server.get("/health")[1])


def test_a_history_that_is_not_there_yet_is_empty(start: Start, sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    server = start(history=path)
    assert json.loads(server.get("/health")[1])["history"] is True
    assert "/api/history" in server.get("/nothing")[1]
    found = ask(server)
    assert (found["streams"], found["first_at"], found["last_at"]) == ([], None, None)
    with closing(sqlite3.connect(sample)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
    assert len(ask(server)["streams"]) == 2


def test_the_token_the_origin_and_the_method_are_checked_as_elsewhere(start: Start, sample: Path) -> None:
    server = start(history=sample, token="s3cret")
    path = f"/api/history?{HOUR}"
    assert [server.get(f"{path}{token}")[0].status for token in ("", "&token=s3cre", "&token=s3cret")] == [
        401,
        401,
        200,
    ]
    bearer = {"Authorization": "Bearer s3cret"}
    for name, value, status in (
        ("Origin", server.address.rstrip("/"), 200),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Host", "evil.example", 403),
    ):
        assert server.get(path, headers=bearer | {name: value})[0].status == status
    assert server.get(path, "POST", headers=bearer)[0].status == 405
    answer, body = server.get(path, "HEAD", headers=bearer)
    assert (answer.status, body) == (200, "")
    assert int(answer.getheader("Content-Length") or 0) > 1000


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("from=5&to=5", "from comes before to"),
        ("from=soon", "from is a number of seconds"),
        ("from=0&to=100000&resolution=1", "100000 bins: 1500 are allowed"),
        ("limit=5", "'limit' is unknown here"),
        ("&".join(f"stream={number}" for number in range(500)), "cannot be read"),
        ("stream=a&stream=b", "stream is given twice"),
        ("stream=%ff", "cannot be read"),
    ],
)
def test_questions_without_sense_are_refused(server: LocalServer, query: str, text: str) -> None:
    status, said = refusal(server, query)
    assert status == 400
    assert text in said


values = st.one_of(
    st.text(max_size=30),
    st.floats().map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from([str(END_AT), str(END_AT - 10), "1e-9", "' OR 1=1 --", "\x00", "[]", '{"a"']),
)
pairs = st.lists(st.tuples(st.sampled_from(["stream", "from", "to", "resolution", "token", "x"]), values), max_size=5)


@given(pairs)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_parameters_get_an_answer_or_a_refusal(server: LocalServer, pairs: list[tuple[str, str]]) -> None:
    query = urlencode(pairs, errors="surrogatepass")
    answer, body = server.get(f"/api/history?{query}")
    assert answer.status in (200, 400)
    assert "Traceback" not in body
    if answer.status == 200:
        found = json.loads(body)
        assert len(found["streams"]) <= 2
    else:
        assert body.count("\n") == 1


def test_files_that_cannot_be_read_are_one_line_without_their_place(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    server = start(history=path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE x (y)")
    assert refusal(server, HOUR) == (
        503,
        "the history cannot be read: not a history, but the database of another program",
    )
    path.write_bytes(b"something else" * 500)
    assert refusal(server, HOUR) == (503, "the history cannot be read: not a history, but another file")
    path.unlink()
    path.mkdir()
    assert refusal(server, HOUR) == (503, "the history cannot be read: is a folder, not a history")
    assert server.counter('refused_connections_total{reason="history"}') == 3


@pytest.fixture
def endless(sample: Path, tmp_path: Path) -> Path:
    """A history of endlessly many sessions."""
    path = Path(shutil.copy(sample, tmp_path / "endless.db"))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            DROP VIEW heard; DROP TABLE session;
            CREATE VIEW session AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
            SELECT id, 1 AS stream_id, 1.0 AS start_at, 1e11 AS last_at FROM n;
        """)
    return path


def test_two_questions_at_once_and_no_more_and_a_server_that_ends_waits_for_none(start: Start, endless: Path) -> None:
    server = start(history=endless)

    def ask_in_vain() -> None:
        with suppress(OSError, HTTPException):
            server.get("/api/history")

    threads = [threading.Thread(target=ask_in_vain) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: sum(each.name.startswith("asyncio_") for each in threading.enumerate()) == 2)
    answer, text = server.get("/api/history")
    assert (answer.status, answer.getheader("Retry-After")) == (503, "1")
    assert text == "others are reading the history already\n"
    assert server.get("/health")[0].status == 200  # the event loop is free meanwhile
    server.close()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_question_that_takes_too_long_is_stopped(endless: Path) -> None:
    route = HistoryRoute(endless, query_timeout_s=0.1)
    with pytest.raises(HttpError, match="reading takes too long: ask for less time, or for one stream"):
        asyncio.run(route.answer(RequestTarget.parse("/api/history")))
