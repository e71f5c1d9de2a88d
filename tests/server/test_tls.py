"""The server over TLS, with a certificate made for the test."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from streamtag.errors import OutputError
from streamtag.protocol.messages import Error
from streamtag.server.config import IngestConfig
from tests.server.support import GREETING, Start, make_frame, read, read_all, wait_until


@pytest.fixture
def trusting(certificates: dict[str, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates["cert"])


@pytest.fixture
def start_secure(start: Start, certificates: dict[str, Path]) -> Start:
    return partial(start, tls_cert=certificates["cert"], tls_key=certificates["key"])


@pytest.mark.parametrize(("cert", "key"), [("cert", "key"), ("both", None)])
def test_page_and_streams_are_served_over_tls(
    start: Start, certificates: dict[str, Path], trusting: ssl.SSLContext, cert: str, key: str | None
) -> None:
    server = start(tls_cert=certificates[cert], tls_key=certificates[key] if key else None)
    assert server.address.startswith("https://127.0.0.1:")
    origin = {"Origin": server.address.rstrip("/")}
    client = server.connect(ssl=trusting, additional_headers=origin)
    assert read(client) == GREETING
    with urlopen(server.address, context=trusting) as page:
        assert "connect-src 'self' wss://127.0.0.1:" in page.headers["Content-Security-Policy"]
    server.publish(Error("last words"))
    server.close()
    assert read_all(client) == [Error("last words")]
    assert client.close_code == 1001


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_connection_of_many_in_a_row_is_left_waiting(
    start_secure: Start, trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    server = start_secure()
    trusting.minimum_version = trusting.maximum_version = version
    for _ in range(50):
        with server.connect(ssl=trusting) as client:
            assert read(client) == GREETING


def test_clients_without_tls_leave_other_connections_alone(start_secure: Start, trusting: ssl.SSLContext) -> None:
    server = start_secure()
    client = server.connect(ssl=trusting)
    read(client)
    sockets = [server.open_socket() for _ in range(20)]
    for number, sock in enumerate(sockets):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" if number % 2 else bytes(range(256)) * number)
    server.publish(Error("still here"))
    assert read(client) == Error("still here")


def test_a_subscriber_that_does_not_read_is_closed_over_tls_too(start_secure: Start, trusting: ssl.SSLContext) -> None:
    server = start_secure(stall_timeout_s=0.5)
    client = server.connect(ssl=trusting, max_queue=1)
    other = server.connect("/?top=1", ssl=trusting)
    assert read(client) == read(other)
    frames = map(make_frame, range(60_000))  # 60 MB at most
    while server.subscribers == 2:
        server.publish(next(frames))
        read(other)
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
    start_secure: Start,
    trusting: ssl.SSLContext,
) -> None:
    server = start_secure(IngestConfig())
    client = server.connect("/ingest/mic", ssl=trusting)
    client.send(b"1234")
    handle = server.handle("mic")
    wait_until(lambda: handle.pushes == 1)
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
    server.scheduler.end("mic")
    assert [message.type for message in read_all(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
