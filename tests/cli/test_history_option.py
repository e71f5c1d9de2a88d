"""--history and --keep of the commands that record: every event in the database, with the source of its stream."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from streamtag.history.reader import HistoryReader, StoredSession
from streamtag.model.model_file import fingerprint
from streamtag.protocol.messages import End
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
    assert _rows(path, "SELECT fingerprint FROM model") == [(fingerprint(model),)]


def test_a_live_stream_is_stored(streamtag: Run, tmp_path: Path) -> None:
    path, sound = tmp_path / "h.sqlite", np.zeros(5 * 16000, np.float32)
    answer = streamtag("listen", *RAW, "--json", "--name", "mixer", "--history", path, stdin=sound.tobytes())
    assert answer.code == 0, answer.err
    (session,) = _sessions(path)
    assert (session.stream, session.source) == ("mixer", "standard input, f32le, 16000 Hz, 1 channel")
    assert (round(session.last_at - session.start_at, 3), session.has_ended) == (5.0, True)
    assert _stored(path) == _expected(json.loads(line) for line in answer.lines)


def test_all_streams_of_a_server_are_stored_shown_and_recorded_until_a_signal_ends_them(
    start: Start, tmp_path: Path
) -> None:
    path, record = tmp_path / "h.sqlite", tmp_path / "all.jsonl"
    server = start("--json", "--threshold", "0.05", "--history", str(path), "--record", str(record))
    subscriber = server.connect("/")
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
    code, out, err = server.stop(signal.SIGTERM)
    assert code == 143, err
    assert isinstance(read_all(clients[2])[-1], End)
    assert clients[2].close_code == 1000
    streams = {f"stream-{index}" for index in range(3)}
    assert {message.stream for message in read_all(subscriber) if isinstance(message, End)} == streams
    assert subscriber.close_code == 1001
    assert {line.split(": ")[1] for line in err.splitlines() if "ended after 0:04" in line} == streams
    assert "streamtag: ending 1 stream\n" in err
    assert "Traceback" not in err
    printed = [json.loads(line) for line in out.splitlines()]
    recorded = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert [{**line, "at": 0} for line in recorded] == [{**line, "at": 0} for line in printed]
    assert _stored(path) == _expected(printed) != []
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
