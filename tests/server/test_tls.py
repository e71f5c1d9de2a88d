"""The server over TLS, with a certificate made for the test."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from streamtag.errors import OutputError
from streamtag.protocol.messages import Error
from tests.server.fake_scheduler import FakeScheduler
from tests.server.support import GREETING, Connect, OpenSocket, Start, make_frame, read, read_all, wait_until


@pytest.fixture
def trusting(certificates: dict[str, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates["cert"])


@pytest.mark.parametrize("files", [("cert", "key"), ("both", None)])
def test_page_and_streams_are_served_over_tls(
    start: Start,
    connect: Connect,
    certificates: dict[str, Path],
    trusting: ssl.SSLContext,
    files: tuple[str, str | None],
) -> None:
    cert, key = files
    server = start(tls_cert=certificates[cert], tls_key=certificates[key] if key else None)
    assert server.address.startswith("https://127.0.0.1:")
    origin = {"Origin": server.address.rstrip("/")}
    client = connect(server, ssl=trusting, additional_headers=origin)
    assert read(client) == GREETING
    browser = http.client.HTTPSConnection(urlsplit(server.address).netloc, timeout=20, context=trusting)
    browser.request("GET", "/")
    answer = browser.getresponse()
    assert answer.status == 200
    assert "connect-src 'self' wss://127.0.0.1:" in (answer.getheader("Content-Security-Policy") or "")
    browser.close()
    server.publish(Error("last words"))
    server.close()
    assert read_all(client) == [Error("last words")]
    assert client.close_code == 1001


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_connection_of_many_in_a_row_is_left_waiting(
    start: Start, connect: Connect, certificates: dict[str, Path], trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    server = start(tls_cert=certificates["cert"], tls_key=certificates["key"])
    trusting.minimum_version = trusting.maximum_version = version
    for _ in range(50):
        with connect(server, ssl=trusting) as client:
            assert read(client) == GREETING


def test_clients_without_tls_leave_other_connections_alone(
    start: Start, connect: Connect, open_socket: OpenSocket, certificates: dict[str, Path], trusting: ssl.SSLContext
) -> None:
    server = start(tls_cert=certificates["cert"], tls_key=certificates["key"])
    client = connect(server, ssl=trusting)
    read(client)
    sockets = [open_socket(server) for _ in range(20)]
    for number, sock in enumerate(sockets):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" if number % 2 else bytes(range(256)) * number)
    server.publish(Error("still here"))
    assert read(client) == Error("still here")


def test_a_subscriber_that_does_not_read_is_closed_over_tls_too(
    start: Start, connect: Connect, certificates: dict[str, Path], trusting: ssl.SSLContext
) -> None:
    server = start(tls_cert=certificates["cert"], tls_key=certificates["key"], stall_timeout_s=0.5)
    client = connect(server, ssl=trusting, max_queue=1)
    other = connect(server, "/?top=1", ssl=trusting)
    assert read(client) == read(other)
    number = 0
    while server.subscribers == 2:
        assert number < 60_000, "60 MB, and it is still there"
        server.publish(make_frame(number))
        read(other)
        number += 1
    assert server.subscribers == 1
    server.publish(Error("still here"))
    assert read(other) == Error("still here")


@pytest.mark.parametrize(
    ("cert", "key", "why"),
    [
        ("cert", "other", "no PEM pair"),
        ("cert", "locked", "no PEM pair"),  # and nobody is asked for a password
        ("cert", None, "no PEM pair"),
        ("missing", "key", "No such file or directory"),
        ("cert", "missing", "No such file or directory"),
    ],
)
def test_unusable_files_are_a_one_line_error(
    start: Start, certificates: dict[str, Path], tmp_path: Path, cert: str, key: str | None, why: str
) -> None:
    files = {**certificates, "missing": tmp_path / "missing.pem"}
    with pytest.raises(OutputError) as error:
        start(tls_cert=files[cert], tls_key=files[key] if key else None)
    assert str(error.value).endswith(f": cannot be used for TLS: {why}")
    assert str(files[cert]) in str(error.value)
    assert "\n" not in str(error.value)


def test_audio_over_tls_waits_while_there_is_no_room(
    start_ingest: Start,
    scheduler: FakeScheduler,
    connect: Connect,
    certificates: dict[str, Path],
    trusting: ssl.SSLContext,
) -> None:
    server = start_ingest(tls_cert=certificates["cert"], tls_key=certificates["key"])
    client = connect(server, "/ingest/mic", ssl=trusting)
    client.send(b"1234")
    wait_until(lambda: "mic" in scheduler.handles and scheduler.handles["mic"].pushes == 1)
    handle = scheduler.handles["mic"]
    handle.room = False
    client.send(b"5678")
    wait_until(lambda: handle.pushes == 2)
    for _ in range(8):
        client.send(bytes(100_000))
    handle.room = True
    handle.on_writable()
    client.send('{"type":"end"}')
    wait_until(lambda: handle.is_finished)
    assert len(handle.audio) == 8 + 800_000
    scheduler.end("mic")
    assert [message.type for message in read_all(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
