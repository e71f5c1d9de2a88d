"""Plain HTTP on the same port, and who may ask for what."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Callable

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from streamtag.protocol.messages import End, Event, Frame, Gap, Hello, Message
from streamtag.server.thread import ServerThread

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
Read = Callable[[ClientConnection], Message]
MakeFrame = Callable[..., Frame]
Until = Callable[[Callable[[], bool]], None]
Ask = Callable[..., tuple[http.client.HTTPResponse, str]]
Count = Callable[[ServerThread, str], float]


def _port(server: ServerThread) -> str:
    return server.address.rstrip("/").rpartition(":")[2]


def test_the_page_is_served_with_a_policy_that_lets_only_itself_run(start: Start, ask: Ask) -> None:
    server = start()
    answer, body = ask(server, "/?token=x&whatever=1")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Referrer-Policy") == "no-referrer"
    policy = answer.getheader("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; script-src 'self' blob:; style-src 'self'; ")
    assert "unsafe" not in policy
    assert f"connect-src 'self' ws://127.0.0.1:{_port(server)};" in policy
    assert not re.search(r"<style|<script(?![^>]* src=)| style=| on[a-z]+=", body)  # the policy would block these


def test_the_files_of_the_page_are_served_by_name_and_revalidated_by_browsers(start: Start, ask: Ask) -> None:
    server = start()
    _, page = ask(server, "/")
    names = re.findall(r"(?:href|src)=\"([\w.-]+)\"", page)
    assert set(names) >= {"app.css", "app.js"}
    for name in [*names, "sender.js"]:
        answer, body = ask(server, f"/{name}")
        expected = "text/css" if name.endswith(".css") else "text/javascript"
        assert (answer.status, answer.getheader("Content-Type")) == (200, f"{expected}; charset=utf-8")
        assert answer.getheader("Cache-Control") == "no-cache"
        etag = answer.getheader("ETag") or ""
        unchanged, nothing = ask(server, f"/{name}", headers={"If-None-Match": etag})
        assert (unchanged.status, nothing) == (304, "")
        again, _ = ask(server, f"/{name}", headers={"If-None-Match": '"older"'})
        assert again.status == 200
        assert body


def test_health_tells_which_streams_are_alive(
    start: Start, connect: Connect, ask: Ask, read: Read, make_frame: MakeFrame
) -> None:
    server = start()
    client = connect(server)
    read(client)
    answer, body = ask(server, "/health")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "application/json")
    assert json.loads(body) == {
        "status": "waiting",
        "version": "streamtag 0.1.0",
        "model": "small",
        "subscribers": 1,
        "streams": {},
    }
    for message in (make_frame(0), make_frame(0, "song.mp3"), End("song.mp3", 0.2, 1, {}), Gap("new", 0.0, 1.0)):
        server.publish(message)
        read(client)
    health = json.loads(ask(server, "/health")[1])
    assert health["status"] == "ready"
    assert {name: stream["ended"] for name, stream in health["streams"].items()} == {
        "mic": False,
        "song.mp3": True,
        "new": False,
    }
    assert 0 <= health["streams"]["mic"]["since_frame_s"] < 20
    assert health["streams"]["new"]["since_frame_s"] is None


def test_metrics_count_what_was_told_and_sent(
    start: Start, connect: Connect, ask: Ask, read: Read, make_frame: MakeFrame, count: Count
) -> None:
    server = start()
    client = connect(server, "/streams/mic")
    read(client)
    for message in (
        make_frame(0, latency_s=0.42),
        make_frame(1, latency_s=0.62),
        make_frame(0, "song.mp3"),
        Event("mic", "tag 01", "on", 0.1),
        Gap("mic", 0.1, 0.3),
        Gap("mic", 0.9, 1.2),
        End("mic", 1.0, 2, {}),
    ):
        server.publish(message)
    while not isinstance(read(client), End):
        pass
    answer, text = ask(server, "/metrics")
    assert (answer.status, (answer.getheader("Content-Type") or "").split(";")[0]) == (200, "text/plain")
    expected = {
        "frames_total": 3,
        "events_total": 1,
        "gaps_total": 2,
        "lost_seconds_total": 1.5,
        "messages_sent_total": 7,  # hello too; not the song's frame
        "messages_dropped_total": 0,
        "subscribers": 1,
        "latency_seconds_count": 2,
        "latency_seconds_sum": 1.04,
        'latency_seconds_bucket{le="0.45"}': 1,
    }
    assert {name: count(server, name) for name in expected} == pytest.approx(expected)
    assert "# TYPE streamtag_latency_seconds histogram" in text
    assert count(start(), "frames_total") == 0  # another server counts for itself


@pytest.mark.parametrize("path", ["/", "/health", "/metrics"])
def test_head_is_get_without_the_body(start: Start, ask: Ask, path: str) -> None:
    server = start()
    (head, nothing), (get, body) = ask(server, path, "HEAD"), ask(server, path)
    assert (head.status, nothing) == (200, "")
    assert head.getheader("Content-Type") == get.getheader("Content-Type")
    assert abs(int(head.getheader("Content-Length") or 0) - len(body.encode())) < 50  # counters may have grown


@pytest.mark.parametrize("path", ["/index.html", "/streams/mic", "/../LICENSE", "//", "/%2e%2e/%2e%2e/etc/passwd"])
def test_there_is_nothing_else(start: Start, ask: Ask, path: str) -> None:
    answer, body = ask(start(), path)
    assert answer.status == 404
    assert body == "there are /, /streams/NAME, /health and /metrics\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_nothing_can_be_done_but_looking(start: Start, ask: Ask, method: str) -> None:
    answer, _ = ask(start(), "/", method)
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("127.0.0.1", 200),
        ("192.168.1.17:{port}", 200),  # however the user got here, no name server led it
        ("[::1]:{port}", 200),
        ("localhost:{port}", 200),
        ("LocalHost.:{port}", 200),
        ("{name}:{port}", 200),
        ("{name}.local:{port}", 200),
        ("tags.example.org", 200),  # that of an allowed origin
        ("evil.example:{port}", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 400),
        ("localhost/evil", 400),
        ("[::1", 400),
        ("", 400),
    ],
)
def test_only_own_names_are_answered_to(start: Start, ask: Ask, host: str, status: int) -> None:
    server = start(origins=("https://tags.example.org",))
    name = socket.gethostname().partition(".")[0]
    headers = {"Host": host.format(port=_port(server), name=name)}
    assert [ask(server, path, headers=headers)[0].status for path in ("/health", "/metrics", "/")] == [status] * 3


def test_a_request_with_no_host_or_two_is_refused(
    start: Start, plug_in: Callable[..., socket.socket], count: Count
) -> None:
    server = start()
    for hosts in (b"", b"Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n"):
        plug = plug_in(server)
        plug.sendall(b"GET /health HTTP/1.1\r\n" + hosts + b"\r\n")
        assert plug.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert count(server, 'refused_connections_total{reason="host"}') == 2


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("http://127.0.0.1:{port}", True),
        ("HTTP://127.0.0.1:{port}", True),
        ("https://tags.example.org", True),
        ("https://tags.example.org:443", True),
        ("http://tags.example.org", False),
        ("https://127.0.0.1:{port}", False),
        ("http://127.0.0.1", False),
        ("http://localhost:{port}", False),  # not where the request went to
        ("https://evil.example", False),
        ("https://tags.example.org.evil.example", False),
        ("null", False),
        ("file://", False),
        ("", False),
    ],
)
def test_pages_of_other_sites_may_not_subscribe_unless_they_are_allowed(
    start: Start, connect: Connect, read: Read, hello: Hello, count: Count, origin: str | None, welcome: bool
) -> None:
    server = start(origins=("https://tags.example.org/",))
    headers = {} if origin is None else {"Origin": origin.format(port=_port(server))}
    if welcome:
        assert read(connect(server, additional_headers=headers)) == hello
        return
    with pytest.raises(InvalidStatus) as refused:
        connect(server, additional_headers=headers)
    assert refused.value.response.status_code == 403
    assert count(server, 'refused_connections_total{reason="origin"}') == 1


@pytest.mark.parametrize("origin", ["null", "file://"])
def test_pages_from_files_may_be_allowed(start: Start, connect: Connect, read: Read, hello: Hello, origin: str) -> None:
    server = start(origins=("null",))
    assert read(connect(server, additional_headers={"Origin": origin})) == hello


def test_a_page_that_took_over_a_foreign_name_may_not_subscribe(start: Start, connect: Connect) -> None:
    server = start()
    site = f"evil.example:{_port(server)}"  # DNS rebinding: to the browser, both are one site
    with pytest.raises(InvalidStatus) as refused:
        connect(server, additional_headers={"Host": site, "Origin": f"http://{site}"})
    assert refused.value.response.status_code in (400, 403)


@pytest.mark.parametrize(
    ("path", "headers", "welcome"),
    [
        ("/?token=s3cret!", {}, True),
        ("/?token=s3cret%21&top=1", {}, True),
        ("/", {"Authorization": "Bearer s3cret!"}, True),
        ("/", {"Authorization": "bearer  s3cret!"}, True),
        ("/?token=wrong", {"Authorization": "Bearer s3cret!"}, True),
        ("/", {}, False),
        ("/?token=", {}, False),
        ("/?token=s3cret", {}, False),
        ("/?token=s3cret!!", {}, False),
        ("/?token=%F0%9F%94%91", {}, False),
        ("/", {"Authorization": "Basic s3cret!"}, False),
        ("/", {"Authorization": "Bearer \u00fc"}, False),
        ("/nothing", {}, False),  # nor what there is
    ],
)
def test_a_token_opens_the_streams(
    start: Start, connect: Connect, read: Read, hello: Hello, path: str, headers: dict[str, str], welcome: bool
) -> None:
    server = start(token="s3cret!")
    if welcome:
        assert read(connect(server, path, additional_headers=headers)) == hello
        return
    with pytest.raises(InvalidStatus) as refused:
        connect(server, path, additional_headers=headers)
    assert refused.value.response.status_code == 401
    assert "token is needed" in refused.value.response.body.decode()


def test_a_token_guards_the_counters_and_the_names_of_streams_but_not_the_page(
    start: Start, connect: Connect, read: Read, ask: Ask, make_frame: MakeFrame
) -> None:
    server = start(token="s3cret")
    client = connect(server, "/?token=s3cret")
    read(client)
    server.publish(make_frame(0, "secret demo.wav"))
    read(client)
    bearer = {"Authorization": "Bearer s3cret"}
    assert ask(server, "/")[0].status == 200
    assert ask(server, "/metrics")[0].status == ask(server, "/metrics?token=x")[0].status == 401
    assert ask(server, "/metrics?token=s3cret")[0].status == ask(server, "/metrics", headers=bearer)[0].status == 200
    answer, body = ask(server, "/health")
    assert (answer.status, json.loads(body)["status"]) == (200, "ready")
    assert "secret demo" not in body
    assert "secret demo" in ask(server, "/health", headers=bearer)[1]
