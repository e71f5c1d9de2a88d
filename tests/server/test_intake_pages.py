"""Plain HTTP of a server that takes sound: tokens of two kinds, health, counters, and streams that move."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import replace
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from streamtag.protocol.messages import Error, Frame, Message, Ready
from streamtag.server.config import IngestConfig
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import STATE, FakeEngine

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
Read = Callable[[ClientConnection], Message]
Rest = Callable[[ClientConnection], list[Message]]
Ask = Callable[..., tuple[http.client.HTTPResponse, str]]
Until = Callable[[Callable[[], bool]], None]
MakeFrame = Callable[..., Frame]
ROLES = {"nobody": "", "subscriber": "token=read", "producer": "token=write"}


def _status(connect: Connect, server: ServerThread, path: str, **settings: object) -> int:
    """101, or why not."""
    try:
        connect(server, path, **settings).close()
    except InvalidStatus as refused:
        return refused.response.status_code
    return 101


@pytest.mark.parametrize(
    ("tokens", "welcome"),
    [
        ((None, None), {"subscribe": ROLES, "send": ROLES}),
        (("read", None), {"subscribe": ["subscriber"], "send": ["subscriber"]}),
        ((None, "write"), {"subscribe": ROLES, "send": ["producer"]}),
        (("read", "write"), {"subscribe": ["subscriber"], "send": ["producer"]}),
    ],
)
def test_each_role_has_its_own_word(
    start_intake: Start, engine: FakeEngine, connect: Connect, ask: Ask, tokens: tuple[str | None, str | None],
    welcome: dict[str, list[str]],
) -> None:  # fmt: skip
    read, write = tokens
    server = start_intake(IngestConfig(token=write), token=read)
    for role, query in ROLES.items():
        assert (_status(connect, server, f"/?{query}") == 101) == (role in welcome["subscribe"])
        assert (_status(connect, server, f"/ingest/of-{role}?{query}") == 101) == (role in welcome["send"])
        assert (f"of-{role}" in engine.feeds) == (role in welcome["send"])
        assert (_status(connect, server, f"/streams/new/state?{query}") == 101) == (role in welcome["send"])
        status = ask(server, f"/streams/of-subscriber/state?{query}")[0].status
        assert (status == 401) == (role not in welcome["send"])
        assert (ask(server, f"/metrics?{query}")[0].status == 200) == (role in welcome["subscribe"])


@pytest.mark.parametrize("path", ["/ingest/mic", "/streams/mic/state"])
def test_pages_of_other_sites_may_not_send_sound_nor_move_streams(
    start_intake: Start, engine: FakeEngine, connect: Connect, ask: Ask, path: str
) -> None:
    server = start_intake()
    assert _status(connect, server, path, additional_headers={"Origin": "https://evil.example"}) == 403
    assert ask(server, path, headers={"Origin": "https://evil.example"})[0].status == 403
    assert ask(server, path, headers={"Host": "evil.example"})[0].status == 403
    assert not engine.opened
    own = server.address.rstrip("/")
    assert _status(connect, server, path, additional_headers={"Origin": own}) == 101


def test_a_server_that_hears_nothing_takes_no_sound(start: Start, connect: Connect, ask: Ask) -> None:
    server = start()
    assert _status(connect, server, "/ingest/mic") == 404
    assert ask(server, "/ingest/mic")[0].status == ask(server, "/streams/mic/state")[0].status == 404
    assert "capacity" not in json.loads(ask(server, "/health")[1])


def test_health_tells_how_much_room_there_is(start_intake: Start, engine: FakeEngine, ask: Ask) -> None:
    server = start_intake(token="read")
    load = engine.stats = replace(engine.stats, streams=60, disconnected=2, lag_s=0.0314)
    health = json.loads(ask(server, "/health")[1])
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
    assert "streams" in json.loads(ask(server, "/health?token=read")[1])
    engine.stats = replace(load, is_degraded=True)
    health = json.loads(ask(server, "/health")[1])
    assert (health["status"], health["room"], health["retry_after_s"]) == ("degraded", 0, 3.2)
    engine.stats = replace(load, is_starting=True)
    assert json.loads(ask(server, "/health")[1])["status"] == "starting"
    server.detach()
    assert json.loads(ask(server, "/health")[1])["status"] == "starting"


def test_metrics_tell_of_the_engine_and_each_of_its_streams(start_intake: Start, connect: Connect, ask: Ask) -> None:
    server = start_intake()
    observer = server.observer()
    name = 'a "quoted" \\ name'
    connect(server, "/ingest/" + "a%20%22quoted%22%20%5C%20name")
    for lags in ([0.01, 0.02, 0.3], [0.04]):
        observer.on_step(len(lags), 0.015, lags, sum(lag > 0.256 for lag in lags))
    observer.on_shed(0.768)
    families = text_string_to_metric_families(ask(server, "/metrics")[1])
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
    assert "streamtag_capacity" not in ask(server, "/metrics")[1]


def test_why_sound_would_not_be_taken_is_told_over_plain_http(
    start_intake: Start, engine: FakeEngine, connect: Connect, ask: Ask
) -> None:
    server = start_intake(IngestConfig(token="write", max_per_client=3))

    def told(path: str) -> tuple[int, str | None]:
        answer, _ = ask(server, path)
        return answer.status, answer.getheader("Retry-After")

    assert told("/ingest/mic") == (401, None)
    assert told("/ingest/mic?rate=1&token=write") == (400, None)
    assert told("/ingest/mic?token=write") == (426, None)
    connect(server, "/ingest/mic?token=write")
    assert told("/ingest/mic?token=write") == (409, None)
    engine.stats = replace(engine.stats, is_degraded=True)
    assert told("/ingest/other?token=write") == (503, "4")
    engine.stats = replace(engine.stats, is_degraded=False)
    connect(server, "/ingest/second?token=write")
    connect(server, "/ingest/third?token=write")
    assert told("/ingest/other?token=write") == (429, "2")
    assert len(engine.opened) == 3  # asking opens nothing


def test_a_state_is_given_and_taken(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, rest: Rest, ask: Ask
) -> None:
    server = start_intake()
    read(connect(server, "/ingest/Halle%202"))
    with urlopen(f"{server.address}streams/Halle%202/state") as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.read() == STATE
    status, text = ask(server, "/streams/nobody/state")
    assert (status.status, text) == (404, "nobody: there is no stream of that name\n")
    taker = connect(server, "/streams/new/state")
    taker.send(STATE)
    assert rest(taker) == [Ready("new", 4096)]
    assert taker.close_code == 1000
    assert engine.adopted == {"new": STATE}


@pytest.mark.parametrize(
    ("name", "data", "code", "told"),
    [
        ("new", b"garbage", 1008, [Error("a stream's state is damaged", "new")]),
        ("new", b"", 1008, [Error("a stream's state is damaged", "new")]),
        ("new", "text", 1008, []),
        ("mic", STATE, 1008, [Error("mic: taken", "mic")]),
        ("new", bytes((1 << 20) + 1), 1009, []),
    ],
)
def test_a_state_that_is_none_is_refused(
    start_intake: Start, engine: FakeEngine, connect: Connect, read: Read, rest: Rest, ask: Ask, until: Until,
    name: str, data: bytes | str, code: int, told: list[Message],
) -> None:  # fmt: skip
    server = start_intake(IngestConfig(max_per_client=2))
    read(connect(server, "/ingest/mic"))
    for _ in range(3):  # nor does it take the place of others
        until(lambda: ask(server, "/ingest/free")[0].status == 426)
        taker = connect(server, f"/streams/{name}/state")
        taker.send(data)
        assert rest(taker) == told
        assert taker.close_code == code
    assert not engine.adopted


def test_where_there_is_no_room_no_stream_is_taken_over(
    start_intake: Start, engine: FakeEngine, connect: Connect
) -> None:
    engine.stats = replace(engine.stats, capacity=0)
    server = start_intake()
    with pytest.raises(InvalidStatus) as refused:
        connect(server, "/streams/new/state")
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "4"


def test_one_who_leaves_before_the_state_came_is_forgotten(
    start_intake: Start, connect: Connect, rest: Rest, ask: Ask, until: Until
) -> None:
    server = start_intake(IngestConfig(max_per_client=1, reconnect_grace_s=0.5))
    client = connect(server, "/streams/new/state")
    assert ask(server, "/ingest/free")[0].status == 429
    client.close()
    until(lambda: ask(server, "/ingest/free")[0].status == 426)
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=5)
    taker = connect(server, "/streams/new/state")
    taker.send(STATE)
    rest(taker)
    assert ask(server, "/ingest/free")[0].status == 429  # the stream has a place until its producer comes, or does not
    assert ask(server, "/ingest/new")[0].status == 426
    until(lambda: ask(server, "/ingest/free")[0].status == 426)
