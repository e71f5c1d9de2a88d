"""--history and --keep of the commands that record: every event in the database, with the source of its stream."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamtag.history.reader import HistoryReader, StoredSession
from streamtag.history.schema import open_for_writing
from streamtag.model.model_file import fingerprint
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.cli.conftest import MakeSound, Run
from tests.cli.serve_process import END, Start, as_pcm, begin, frames_of, tones
from tests.history.conftest import HELLO, end, frame, switch
from tests.server.support import read_all, wait_until

RAW = ("--from", "-", "--rate", "16000", "--format", "f32le")


def _sessions(path: Path) -> list[StoredSession]:
    with HistoryReader(path) as reader:
        return reader.sessions(0, 1e11)


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def _expected(lines: Iterable[dict[str, Any]]) -> list[tuple[str, str, float, float]]:
    """Return stream, concept, on and off of all events, sorted."""
    on: dict[tuple[str, str], float] = {}
    presences = []
    for event in (line for line in lines if line["type"] == "event"):
        key = event["stream"], event["concept"]
        if event["state"] == "on":
            on[key] = event["time"]
        else:
            presences.append((*key, on.pop(key), event["time"]))
    assert not on
    return sorted(presences)


def _stored(path: Path) -> list[tuple[str, str, float, float]]:
    return sorted(_rows(path, "SELECT stream, concept, on_s, off_s FROM heard"))


def test_every_event_of_files_is_stored(streamtag: Run, make_sound: MakeSound, tmp_path: Path, model: Path) -> None:
    path, sounds = tmp_path / "h.sqlite", [make_sound("a.wav", 20), make_sound("b.wav", 9)]
    answer = streamtag(*["file", *sounds, "--json", "--threshold", "0.05", "--history", path, "--keep", "30"])
    assert (answer.code, answer.err) == (0, "")
    lines = [json.loads(line) for line in answer.lines]
    assert _stored(path) == _expected(lines) != []
    sessions = _sessions(path)
    assert [
        (each.stream, each.source, round(each.last_at - each.start_at, 3), each.has_ended) for each in sessions
    ] == [
        ("a.wav", str(sounds[0]), 20.0, True),
        ("b.wav", str(sounds[1]), 9.0, True),
    ]
    ends = {line["stream"]: line for line in lines if line["type"] == "end"}
    ((frames, means),) = _rows(path, "SELECT sum(frames), max(means) FROM minute WHERE session_id = 2")
    assert frames == ends["b.wav"]["frames"]
    labels = [*ends["b.wav"]["summary"].values(), *ends["b.wav"]["concepts"].values()]
    assert len(means) == len(labels)
    if len(_rows(path, "SELECT * FROM minute WHERE session_id = 2")) == 1:  # unless a minute of the clock began
        assert list(means) == pytest.approx([255 * value for value in labels], abs=0.51)
    assert _rows(path, "SELECT fingerprint FROM model") == [(fingerprint(model),)]


def test_a_live_stream_is_stored(streamtag: Run, tmp_path: Path) -> None:
    path, sound = tmp_path / "h.sqlite", np.zeros(5 * 16000, np.float32)
    answer = streamtag("listen", *RAW, "--json", "--name", "mixer", "--history", path, stdin=sound.tobytes())
    assert answer.code == 0, answer.err
    (session,) = _sessions(path)
    assert (session.stream, session.source) == ("mixer", "standard input, f32le, 16000 Hz, 1 channel")
    assert (round(session.last_at - session.start_at, 3), session.has_ended) == (5.0, True)
    assert _stored(path) == _expected(json.loads(line) for line in answer.lines)


def test_all_producers_of_a_server_are_stored_and_shown(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    server = start("--json", "--threshold", "0.05", "--history", str(path))
    clients = [server.connect(f"/ingest/stream-{index}") for index in range(3)]
    for client in clients:
        begin(client)
        client.send(as_pcm(tones(4)))
    for client in clients[:2]:
        client.send(END)
        assert frames_of(read_all(client))

    def shown() -> set[str]:
        return {each["stream"] for each in json.loads(server.get("/api/history?resolution=60"))["streams"]}

    wait_until(lambda: {"stream-0", "stream-1"} <= shown())
    assert json.loads(server.get("/health"))["history"] is True
    code, out, err = server.stop()
    assert code == 130, err
    assert "database" not in err
    assert _stored(path) == _expected(json.loads(line) for line in out.splitlines()) != []
    assert {(each.source, each.has_ended) for each in _sessions(path)} == {("ws client", True)}
    assert _rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_what_a_subscriber_sees_is_stored_from_the_past_on(streamtag: Run, tmp_path: Path) -> None:
    path, is_over = tmp_path / "h.sqlite", threading.Event()

    def play() -> None:
        for number in range(40, 10_000):
            server.publish(frame(number, 0.8))
            if number == 60:
                server.publish(switch(number, "on", "voice"))
            if is_over.wait(0.02):
                return

    with ServerThread(ServerConfig(port=0), HELLO) as server:
        for message in (*(frame(number, 0.8) for number in range(20)), switch(10, "on")):
            server.publish(message)
        server.publish(end(1, "other"))
        player = threading.Thread(target=play)
        player.start()
        try:
            answer = streamtag(
                "watch", f"{server.address}streams/radio", "--json", "--for", "2", "--history", path, small=False
            )
        finally:
            is_over.set()
            player.join()
    assert answer.code == 0, answer.err
    assert {json.loads(line)["type"] for line in answer.lines} == {"hello", "frame", "event"}
    (session,) = _sessions(path)
    assert (session.source, session.has_ended) == (server.address.replace("http", "ws") + "streams/radio", True)
    assert _rows(path, "SELECT name FROM concept ORDER BY name") == [("guitar",), ("voice",)]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("--keep", "3"), 2, "--keep goes with --history"),
        (("--history", "h.sqlite", "--keep", "0"), 2, "--keep 0: must be a number of days above 0, at most 36500"),
        (("--history", "no/folder/h.sqlite"), 1, "no/folder/h.sqlite: cannot write: there is no folder"),
        (("--history", "song.wav"), 2, "song.wav: is one of the inputs; results are not written over it"),
        (("--history", "other.wav"), 1, "other.wav: not a history, but another file"),
        (("--history", "other.sqlite"), 1, "other.sqlite: not a history, but the database of another program"),
        (("--history", "newer.sqlite"), 1, "newer.sqlite: a history of a newer streamtag"),
    ],
)
def test_what_cannot_be_a_history_is_one_clear_line(
    streamtag: Run,
    make_sound: MakeSound,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_sound("song.wav", 2)
    make_sound("other.wav", 2)
    with closing(sqlite3.connect("other.sqlite")) as other, other:
        other.execute("CREATE TABLE recordings (x)")
    with closing(open_for_writing(Path("newer.sqlite"))) as newer:
        newer.execute("PRAGMA user_version = 99")
    answer = streamtag("file", "song.wav", *arguments)
    assert answer.code == code
    assert reason in answer.err
    assert answer.err.count("\n") == (2 if code == 2 else 1)
