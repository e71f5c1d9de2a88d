"""Plain HTTP of a server that accepts audio: tokens of two kinds, health, counters, and streams that move."""

from __future__ import annotations

import json
from collections.abc import Container
from concurrent.futures import Future
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

from streamtag.protocol.messages import Error, Message, Ready
from streamtag.server.config import IngestConfig
from tests.server.fake_scheduler import STATE
from tests.server.support import LocalServer, Start, read, read_all, wait_until

ROLES = {"nobody": "", "subscriber": "token=read", "producer": "token=write"}


@pytest.fixture
def server(start: Start) -> LocalServer:
    return start(IngestConfig())


@pytest.mark.parametrize(
    ("read", "write", "may_subscribe", "may_send"),
    [
        (None, None, ROLES, ROLES),
        ("read", None, ["subscriber"], ["subscriber"]),
        (None, "write", ROLES, ["producer"]),
        ("read", "write", ["subscriber"], ["producer"]),
    ],
)
def test_subscribers_and_producers_need_their_own_tokens(
    start: Start, read: str | None, write: str | None, may_subscribe: Container[str], may_send: Container[str]
) -> None:
    server = start(IngestConfig(token=write), token=read)
    for role, query in ROLES.items():
        assert (server.shake_hands(f"/?{query}")[0] == 101) == (role in may_subscribe)
        assert (server.shake_hands(f"/ingest/of-{role}?{query}")[0] == 101) == (role in may_send)
        assert (f"of-{role}" in server.scheduler.handles) == (role in may_send)
        assert (server.shake_hands(f"/streams/new/state?{query}")[0] == 101) == (role in may_send)
        assert (server.get(f"/streams/of-subscriber/state?{query}")[0].status != 401) == (role in may_send)
        assert (server.get(f"/metrics?{query}")[0].status == 200) == (role in may_subscribe)


@pytest.mark.parametrize("path", ["/ingest/mic", "/streams/mic/state"])
def test_pages_of_other_sites_may_neither_send_audio_nor_move_streams(server: LocalServer, path: str) -> None:
    assert server.shake_hands(path, additional_headers={"Origin": "https://evil.example"})[0] == 403
    assert server.get(path, headers={"Origin": "https://evil.example"})[0].status == 403
    assert server.get(path, headers={"Host": "evil.example"})[0].status == 403
    assert not server.scheduler.opened
    assert server.shake_hands(path, additional_headers={"Origin": server.address.rstrip("/")})[0] == 101


def test_a_server_without_ingest_accepts_no_audio(start: Start) -> None:
    server = start()
    assert server.shake_hands("/ingest/mic")[0] == 404
    assert server.get("/ingest/mic")[0].status == server.get("/streams/mic/state")[0].status == 404
    assert "capacity" not in json.loads(server.get("/health")[1])


def test_health_reports_the_capacity_for_streams(start: Start) -> None:
    server = start(IngestConfig(), token="read")
    load = server.scheduler.stats = replace(server.scheduler.stats, streams=60, disconnected=2, lag_s=0.0314)
    assert json.loads(server.get("/health")[1]) == {
        "status": "ready",
        "version": "streamtag 0.1.0",
        "model": "small",
        "subscribers": 0,
        "capacity": 100,
        "room": 40,
        "retry_after_s": None,
        "running": 58,
        "away": 2,
        "lag_s": 0.031,
    }
    assert "streams" in json.loads(server.get("/health?token=read")[1])
    server.scheduler.stats = replace(load, is_degraded=True)
    health = json.loads(server.get("/health")[1])
    assert (health["status"], health["room"], health["retry_after_s"]) == ("degraded", 0, 3.2)
    server.detach()
    assert json.loads(server.get("/health")[1])["status"] == "starting"


def test_metrics_report_the_scheduler_and_each_stream(server: LocalServer) -> None:
    observer = server.observer()
    name = 'a "quoted" \\ name'
    server.connect("/ingest/" + "a%20%22quoted%22%20%5C%20name")
    for lags in ([0.01, 0.02, 0.3], [0.04]):
        observer.on_step(len(lags), 0.015, lags, sum(lag > 0.256 for lag in lags))
    observer.on_shed(0.768)
    families = text_string_to_metric_families(server.get("/metrics")[1])
    samples = [sample for family in families for sample in family.samples]
    values = {sample.name.removeprefix("streamtag_"): sample.value for sample in samples if not sample.labels}
    expected = {
        "ticks_total": 2,
        "tick_streams_total": 4,
        "deadline_misses_total": 1,
        "shed_seconds_total": 0.768,
        "lag_seconds_count": 4,
        "lag_seconds_sum": 0.37,
        "batch_sum": 4,
        "tick_seconds_sum": 0.03,
        "streams": 1,
        "streams_away": 0,
        "capacity": 100,
        "degraded": 0,
        "due_streams": 0,
        "producers": 1,
    }
    assert {key: values[key] for key in expected} == pytest.approx(expected)
    of_streams = {sample.name: sample for sample in samples if "stream" in sample.labels}
    assert {sample.labels["stream"] for sample in of_streams.values()} == {name}
    assert of_streams["streamtag_stream_lag_seconds"].value == 0.25
    assert of_streams["streamtag_stream_waiting_seconds"].value == 0.5
    server.detach()
    assert "streamtag_capacity" not in server.get("/metrics")[1]


def test_plain_http_tells_why_a_producer_would_be_refused(start: Start) -> None:
    server = start(IngestConfig(token="write", max_per_client=1))

    def received(path: str) -> tuple[int, str | None]:
        answer, _ = server.get(path)
        return answer.status, answer.getheader("Retry-After")

    assert received("/ingest/mic") == (401, None)
    assert received("/ingest/mic?rate=1&token=write") == (400, None)
    assert received("/ingest/mic?token=write") == (426, None)
    server.scheduler.stats = replace(server.scheduler.stats, is_degraded=True)
    assert received("/ingest/other?token=write") == (503, "4")
    server.scheduler.stats = replace(server.scheduler.stats, is_degraded=False)
    server.connect("/ingest/mic?token=write")
    assert received("/ingest/mic?token=write") == (409, None)
    assert received("/ingest/other?token=write") == (429, "2")
    assert len(server.scheduler.opened) == 1  # asking opens nothing


def test_the_state_of_a_stream_is_exported_and_imported(server: LocalServer) -> None:
    server.connect("/ingest/Halle%202")
    answer, state = server.get("/streams/Halle%202/state")
    assert (answer.getheader("Content-Type"), state) == ("application/octet-stream", STATE.decode())
    status, text = server.get("/streams/nobody/state")
    assert (status.status, text) == (404, "nobody: there is no stream of that name\n")
    client = server.connect("/streams/new/state")
    client.send(STATE)
    assert read_all(client) == [Ready("new", 4096)]
    assert client.close_code == 1000
    assert server.scheduler.imported == {"new": STATE}


def test_bytes_after_a_request_do_not_disturb_its_answer(server: LocalServer) -> None:
    server.scheduler.states["mic"] = state = Future[bytes]()  # the answer takes a while
    sock = server.open_socket()
    sock.sendall(b"GET /streams/mic/state HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + bytes(100))
    wait_until(lambda: server.scheduler.exports == 1)
    sock.sendall(b"\xff" * 100)
    assert server.get("/health")[0].status == 200
    state.set_result(b"the answer")
    assert b"".join(iter(lambda: sock.recv(4096), b"")).endswith(b"the answer")


@pytest.mark.parametrize(
    ("name", "data", "code", "received"),
    [
        ("new", b"garbage", 1008, [Error("a stream's state is damaged", "new")]),
        ("new", "text", 1008, []),
        ("mic", STATE, 1008, [Error("mic: in use", "mic")]),
        ("new", bytes((1 << 20) + 1), 1009, []),
    ],
)
def test_a_bad_state_is_refused(start: Start, name: str, data: bytes | str, code: int, received: list[Message]) -> None:
    server = start(IngestConfig(max_per_client=2))
    read(server.connect("/ingest/mic"))
    for _ in range(3):  # and occupies no place
        wait_until(lambda: server.get("/ingest/free")[0].status == 426)
        client = server.connect(f"/streams/{name}/state")
        client.send(data)
        assert read_all(client) == received
        assert client.close_code == code
    assert not server.scheduler.imported


def test_an_import_that_is_abandoned_frees_its_place(start: Start) -> None:
    server = start(IngestConfig(max_per_client=1, reconnect_grace_s=0.5))
    client = server.connect("/streams/new/state")
    assert server.get("/ingest/free")[0].status == 429
    client.close()
    wait_until(lambda: server.get("/ingest/free")[0].status == 426)
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=5)
    client = server.connect("/streams/new/state")
    client.send(STATE)
    read_all(client)
    # the stream has a place until its producer comes, or does not
    assert server.get("/ingest/free")[0].status == 429
    assert server.get("/ingest/new")[0].status == 426
    wait_until(lambda: server.get("/ingest/free")[0].status == 426)
