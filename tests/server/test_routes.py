"""Plain HTTP on the same port, and who may ask for what."""

from __future__ import annotations

import json
import re
import socket

import pytest

from streamtag.protocol.messages import End, Event, Gap
from tests.server.support import GREETING, LocalServer, Start, make_frame, read


def test_the_page_s_policy_allows_only_its_own_files(server: LocalServer) -> None:
    answer, body = server.get("/?token=x&whatever=1")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/html; charset=utf-8")
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Referrer-Policy") == "no-referrer"
    policy = answer.getheader("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; script-src 'self' blob:; style-src 'self'; ")
    assert "unsafe" not in policy
    assert f"connect-src 'self' ws://127.0.0.1:{server.port};" in policy
    assert not re.search(r"<style|<script(?![^>]* src=)| style=| on[a-z]+=", body)  # the policy would block these


def test_the_files_of_the_page_are_served_by_name_and_revalidated_by_browsers(server: LocalServer) -> None:
    _, page = server.get("/")
    names = re.findall(r"(?:href|src)=\"([\w.-]+)\"", page)
    assert set(names) >= {"app.css", "app.js"}
    for name in [*names, "sender.js"]:
        answer, body = server.get(f"/{name}")
        expected = "text/css" if name.endswith(".css") else "text/javascript"
        assert (answer.status, answer.getheader("Content-Type")) == (200, f"{expected}; charset=utf-8")
        assert answer.getheader("Cache-Control") == "no-cache"
        etag = answer.getheader("ETag") or ""
        unchanged, nothing = server.get(f"/{name}", headers={"If-None-Match": etag})
        assert (unchanged.status, nothing) == (304, "")
        again, _ = server.get(f"/{name}", headers={"If-None-Match": '"older"'})
        assert again.status == 200
        assert body


def test_health_reports_the_age_of_each_stream(server: LocalServer) -> None:
    client = server.connect()
    read(client)
    answer, body = server.get("/health")
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
    health = json.loads(server.get("/health")[1])
    assert health["status"] == "ready"
    assert {name: stream["ended"] for name, stream in health["streams"].items()} == {
        "mic": False,
        "song.mp3": True,
        "new": False,
    }
    assert 0 <= health["streams"]["mic"]["since_frame_s"] < 20
    assert health["streams"]["new"]["since_frame_s"] is None


def test_metrics_count_published_and_sent_messages(server: LocalServer) -> None:
    client = server.connect("/streams/mic")
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
    answer, text = server.get("/metrics")
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
    assert {name: server.counter(name) for name in expected} == pytest.approx(expected)
    assert "# TYPE streamtag_latency_seconds histogram" in text


@pytest.mark.parametrize("path", ["/", "/health", "/metrics"])
def test_head_is_get_without_the_body(start: Start, path: str) -> None:
    server = start()
    (head, nothing), (get, body) = server.get(path, "HEAD"), server.get(path)
    assert (head.status, nothing) == (200, "")
    assert head.getheader("Content-Type") == get.getheader("Content-Type")
    assert abs(int(head.getheader("Content-Length") or 0) - len(body.encode())) < 50  # counters may have grown


@pytest.mark.parametrize("path", ["/streams/mic", "/../LICENSE", "//", "/%2e%2e/%2e%2e/etc/passwd"])
def test_other_paths_are_not_found(start: Start, path: str) -> None:
    answer, body = start().get(path)
    assert answer.status == 404
    assert body == "there are /, /streams/NAME, /health and /metrics\n"


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "BREW"])
def test_other_methods_are_not_allowed(start: Start, method: str) -> None:
    answer, _ = start().get("/", method)
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("192.168.1.17:{port}", 200),  # however the user got here, no name server led it
        ("[::1]:{port}", 200),
        ("LocalHost.:{port}", 200),
        ("{name}:{port}", 200),
        ("{name}.local:{port}", 200),
        ("tags.example.org", 200),  # that of an allowed origin
        ("evil.example:{port}", 403),
        ("localhost.evil.example", 403),
        ("localhost@evil.example", 400),
        ("[::1", 400),
        ("", 400),
    ],
)
def test_only_requests_for_the_server_s_own_names_are_answered(start: Start, host: str, status: int) -> None:
    server = start(origins=("https://tags.example.org",))
    name = socket.gethostname().partition(".")[0]
    headers = {"Host": host.format(port=server.port, name=name)}
    assert [server.get(path, headers=headers)[0].status for path in ("/health", "/metrics", "/")] == [status] * 3


def test_a_request_without_one_host_header_is_refused(server: LocalServer) -> None:
    for hosts in (b"", b"Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n"):
        sock = server.open_socket()
        sock.sendall(b"GET /health HTTP/1.1\r\n" + hosts + b"\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert server.counter('refused_connections_total{reason="host"}') == 2


@pytest.mark.parametrize(
    ("origin", "is_welcome"),
    [
        (None, True),
        ("http://127.0.0.1:{port}", True),
        ("https://tags.example.org", True),
        ("https://Tags.example.org:443", True),
        ("http://tags.example.org", False),
        ("https://127.0.0.1:{port}", False),
        ("http://127.0.0.1", False),
        ("http://localhost:{port}", False),  # not where the request went to
        ("https://evil.example", False),
        ("https://tags.example.org.evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_pages_of_other_sites_may_subscribe_only_if_allowed(start: Start, origin: str | None, is_welcome: bool) -> None:
    server = start(origins=("https://tags.example.org/",))
    headers = {} if origin is None else {"Origin": origin.format(port=server.port)}
    assert server.shake_hands(additional_headers=headers)[0] == (101 if is_welcome else 403)
    assert server.counter('refused_connections_total{reason="origin"}') == (not is_welcome)


@pytest.mark.parametrize("origin", ["null", "file://"])
def test_pages_opened_from_files_may_be_allowed(start: Start, origin: str) -> None:
    assert read(start(origins=("null",)).connect(additional_headers={"Origin": origin})) == GREETING


@pytest.mark.parametrize(
    ("path", "headers", "is_welcome"),
    [
        ("/?token=s3cret!", {}, True),
        ("/", {"Authorization": "Bearer s3cret!"}, True),
        ("/", {"Authorization": "bearer  s3cret!"}, True),
        ("/?token=wrong", {"Authorization": "Bearer s3cret!"}, True),
        ("/", {}, False),
        ("/?token=s3cret", {}, False),
        ("/?token=s3cret!!", {}, False),
        ("/?token=%F0%9F%94%91", {}, False),
        ("/", {"Authorization": "Bearer \u00fc"}, False),
        ("/nothing", {}, False),  # nor what there is
    ],
)
def test_subscribers_need_the_token(start: Start, path: str, headers: dict[str, str], is_welcome: bool) -> None:
    status, text, _ = start(token="s3cret!").shake_hands(path, additional_headers=headers)
    assert (status, "token is needed" in text) == ((101, False) if is_welcome else (401, True))


def test_stream_names_need_the_token_and_the_page_does_not(start: Start) -> None:
    server = start(token="s3cret")
    client = server.connect("/?token=s3cret")
    read(client)
    server.publish(make_frame(0, "secret demo.wav"))
    read(client)
    assert server.get("/")[0].status == 200
    answer, body = server.get("/health")
    assert (answer.status, json.loads(body)["status"]) == (200, "ready")
    assert "secret demo" not in body
    assert "secret demo" in server.get("/health", headers={"Authorization": "Bearer s3cret"})[1]
