"""Plain HTTP of a server that accepts audio: tokens of two kinds, health, counters, and streams that move."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import replace
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

from streamtag.protocol.messages import Error, Message, Ready
from streamtag.server.config import IngestConfig
from tests.server.fake_scheduler import STATE, FakeScheduler
from tests.server.support import Connect, OpenSocket, Start, http_get, read, read_all, shake_hands, wait_until

ROLES = {"nobody": "", "subscriber": "token=read", "producer": "token=write"}


@pytest.mark.parametrize(
    ("tokens", "welcome"),
    [
        ((None, None), {"subscribe": ROLES, "send": ROLES}),
        (("read", None), {"subscribe": ["subscriber"], "send": ["subscriber"]}),
        ((None, "write"), {"subscribe": ROLES, "send": ["producer"]}),
        (("read", "write"), {"subscribe": ["subscriber"], "send": ["producer"]}),
    ],
)
def test_subscribers_and_producers_need_their_own_tokens(
    start_ingest: Start,
    scheduler: FakeScheduler,
    connect: Connect,
    tokens: tuple[str | None, str | None],
    welcome: dict[str, list[str]],
) -> None:
    read, write = tokens
    server = start_ingest(IngestConfig(token=write), token=read)
    for role, query in ROLES.items():
        assert (shake_hands(connect, server, f"/?{query}")[0] == 101) == (role in welcome["subscribe"])
        assert (shake_hands(connect, server, f"/ingest/of-{role}?{query}")[0] == 101) == (role in welcome["send"])
        assert (f"of-{role}" in scheduler.handles) == (role in welcome["send"])
        assert (shake_hands(connect, server, f"/streams/new/state?{query}")[0] == 101) == (role in welcome["send"])
        status = http_get(server, f"/streams/of-subscriber/state?{query}")[0].status
        assert (status == 401) == (role not in welcome["send"])
        assert (http_get(server, f"/metrics?{query}")[0].status == 200) == (role in welcome["subscribe"])


@pytest.mark.parametrize("path", ["/ingest/mic", "/streams/mic/state"])
def test_pages_of_other_sites_may_neither_send_audio_nor_move_streams(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect, path: str
) -> None:
    server = start_ingest()
    assert shake_hands(connect, server, path, additional_headers={"Origin": "https://evil.example"})[0] == 403
    assert http_get(server, path, headers={"Origin": "https://evil.example"})[0].status == 403
    assert http_get(server, path, headers={"Host": "evil.example"})[0].status == 403
    assert not scheduler.opened
    own = server.address.rstrip("/")
    assert shake_hands(connect, server, path, additional_headers={"Origin": own})[0] == 101


def test_a_server_without_ingest_accepts_no_audio(start: Start, connect: Connect) -> None:
    server = start()
    assert shake_hands(connect, server, "/ingest/mic")[0] == 404
    assert http_get(server, "/ingest/mic")[0].status == http_get(server, "/streams/mic/state")[0].status == 404
    assert "capacity" not in json.loads(http_get(server, "/health")[1])


def test_health_reports_the_capacity_for_streams(start_ingest: Start, scheduler: FakeScheduler) -> None:
    server = start_ingest(token="read")
    load = scheduler.stats = replace(scheduler.stats, streams=60, disconnected=2, lag_s=0.0314)
    health = json.loads(http_get(server, "/health")[1])
    assert health == {
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
    assert "streams" in json.loads(http_get(server, "/health?token=read")[1])
    scheduler.stats = replace(load, is_degraded=True)
    health = json.loads(http_get(server, "/health")[1])
    assert (health["status"], health["room"], health["retry_after_s"]) == ("degraded", 0, 3.2)
    server.detach()
    assert json.loads(http_get(server, "/health")[1])["status"] == "starting"


def test_metrics_report_the_scheduler_and_each_stream(start_ingest: Start, connect: Connect) -> None:
    server = start_ingest()
    observer = server.observer()
    name = 'a "quoted" \\ name'
    connect(server, "/ingest/" + "a%20%22quoted%22%20%5C%20name")
    for lags in ([0.01, 0.02, 0.3], [0.04]):
        observer.on_step(len(lags), 0.015, lags, sum(lag > 0.256 for lag in lags))
    observer.on_shed(0.768)
    families = text_string_to_metric_families(http_get(server, "/metrics")[1])
    samples = [sample for family in families for sample in family.samples]
    values = {sample.name: sample.value for sample in samples if not sample.labels}
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
    assert {key: values[f"streamtag_{key}"] for key in expected} == pytest.approx(expected)
    of_streams = {sample.name: sample for sample in samples if "stream" in sample.labels}
    assert {sample.labels["stream"] for sample in of_streams.values()} == {name}
    assert of_streams["streamtag_stream_lag_seconds"].value == 0.25
    assert of_streams["streamtag_stream_waiting_seconds"].value == 0.5
    server.detach()
    assert "streamtag_capacity" not in http_get(server, "/metrics")[1]


def test_plain_http_tells_why_a_producer_would_be_refused(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest(IngestConfig(token="write", max_per_client=1))

    def received(path: str) -> tuple[int, str | None]:
        answer, _ = http_get(server, path)
        return answer.status, answer.getheader("Retry-After")

    assert received("/ingest/mic") == (401, None)
    assert received("/ingest/mic?rate=1&token=write") == (400, None)
    assert received("/ingest/mic?token=write") == (426, None)
    scheduler.stats = replace(scheduler.stats, is_degraded=True)
    assert received("/ingest/other?token=write") == (503, "4")
    scheduler.stats = replace(scheduler.stats, is_degraded=False)
    connect(server, "/ingest/mic?token=write")
    assert received("/ingest/mic?token=write") == (409, None)
    assert received("/ingest/other?token=write") == (429, "2")
    assert len(scheduler.opened) == 1  # asking opens nothing


def test_the_state_of_a_stream_is_exported_and_imported(
    start_ingest: Start, scheduler: FakeScheduler, connect: Connect
) -> None:
    server = start_ingest()
    read(connect(server, "/ingest/Halle%202"))
    with urlopen(f"{server.address}streams/Halle%202/state") as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.read() == STATE
    status, text = http_get(server, "/streams/nobody/state")
    assert (status.status, text) == (404, "nobody: there is no stream of that name\n")
    client = connect(server, "/streams/new/state")
    client.send(STATE)
    assert read_all(client) == [Ready("new", 4096)]
    assert client.close_code == 1000
    assert scheduler.imported == {"new": STATE}


def test_bytes_after_a_request_do_not_disturb_its_answer(
    start_ingest: Start, scheduler: FakeScheduler, open_socket: OpenSocket
) -> None:
    server = start_ingest()
    scheduler.states["mic"] = state = Future[bytes]()  # the answer takes a while
    sock = open_socket(server)
    sock.sendall(b"GET /streams/mic/state HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + bytes(100))
    wait_until(lambda: scheduler.exports == 1)
    sock.sendall(b"\xff" * 100)
    assert http_get(server, "/health")[0].status == 200
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
def test_a_bad_state_is_refused(
    start_ingest: Start,
    scheduler: FakeScheduler,
    connect: Connect,
    name: str,
    data: bytes | str,
    code: int,
    received: list[Message],
) -> None:
    server = start_ingest(IngestConfig(max_per_client=2))
    read(connect(server, "/ingest/mic"))
    for _ in range(3):  # and occupies no place
        wait_until(lambda: http_get(server, "/ingest/free")[0].status == 426)
        client = connect(server, f"/streams/{name}/state")
        client.send(data)
        assert read_all(client) == received
        assert client.close_code == code
    assert not scheduler.imported


def test_an_import_that_is_abandoned_frees_its_place(start_ingest: Start, connect: Connect) -> None:
    server = start_ingest(IngestConfig(max_per_client=1, reconnect_grace_s=0.5))
    client = connect(server, "/streams/new/state")
    assert http_get(server, "/ingest/free")[0].status == 429
    client.close()
    wait_until(lambda: http_get(server, "/ingest/free")[0].status == 426)
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=5)
    client = connect(server, "/streams/new/state")
    client.send(STATE)
    read_all(client)
    # the stream has a place until its producer comes, or does not
    assert http_get(server, "/ingest/free")[0].status == 429
    assert http_get(server, "/ingest/new")[0].status == 426
    wait_until(lambda: http_get(server, "/ingest/free")[0].status == 426)
