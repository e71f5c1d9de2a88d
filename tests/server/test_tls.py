"""The same over TLS, with a certificate made on the spot."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import ClientConnection

from streamtag.errors import OutputError
from streamtag.protocol.messages import Error, Hello, Message
from streamtag.server.thread import ServerThread
from tests.server.fake_scheduler import FakeEngine

Start = Callable[..., ServerThread]
Connect = Callable[..., ClientConnection]
Read = Callable[[ClientConnection], Message]
Rest = Callable[[ClientConnection], list[Message]]
PlugIn = Callable[..., socket.socket]
Need = Callable[[str, bool, str], None]
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


@pytest.fixture(scope="module")
def pair(need: Need, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for 127.0.0.1, its key, the same key encrypted, and another's key."""
    openssl = shutil.which("openssl")
    need("openssl", openssl is not None, "machine has no openssl")
    assert openssl is not None
    folder = tmp_path_factory.mktemp("tls")
    files = {name: folder / f"{name}.pem" for name in ("cert", "key", "locked", "other", "both")}

    def run(*arguments: str | Path) -> None:
        subprocess.run([openssl, *arguments], check=True, capture_output=True, timeout=60)

    name = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    run("req", "-x509", *EC, "-nodes", *name, "-keyout", files["key"], "-out", files["cert"])
    run("req", "-x509", *EC, "-nodes", *name, "-keyout", files["other"], "-out", folder / "unused.pem")
    run("ec", "-in", files["key"], "-aes256", "-passout", "pass:secret", "-out", files["locked"])
    files["both"].write_bytes(files["cert"].read_bytes() + files["key"].read_bytes())
    return files


@pytest.mark.parametrize("files", [("cert", "key"), ("both", None)])
def test_page_and_streams_are_served_encrypted(
    start: Start,
    connect: Connect,
    read: Read,
    rest: Rest,
    hello: Hello,
    pair: dict[str, Path],
    files: tuple[str, str | None],
) -> None:
    cert, key = files
    server = start(tls_cert=pair[cert], tls_key=pair[key] if key else None)
    assert server.address.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=pair["cert"])
    origin = {"Origin": server.address.rstrip("/")}
    client = connect(server, ssl=trusting, additional_headers=origin)
    assert read(client) == hello
    browser = http.client.HTTPSConnection(urlsplit(server.address).netloc, timeout=20, context=trusting)
    browser.request("GET", "/")
    answer = browser.getresponse()
    assert answer.status == 200
    assert "connect-src 'self' wss://127.0.0.1:" in (answer.getheader("Content-Security-Policy") or "")
    browser.close()
    server.publish(Error("last words"))
    server.__exit__(None, None, None)
    assert rest(client) == [Error("last words")]
    assert client.close_code == 1001


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_many_connect_one_after_another_and_none_is_left_waiting(
    start: Start, connect: Connect, read: Read, hello: Hello, pair: dict[str, Path], version: ssl.TLSVersion
) -> None:
    server = start(tls_cert=pair["cert"], tls_key=pair["key"])
    trusting = ssl.create_default_context(cafile=pair["cert"])
    trusting.minimum_version = trusting.maximum_version = version
    for _ in range(50):
        with connect(server, ssl=trusting) as client:
            assert read(client) == hello


def test_the_certificate_is_trusted_only_by_those_who_were_told_to(
    start: Start, plug_in: PlugIn, pair: dict[str, Path]
) -> None:
    plug = plug_in(start(tls_cert=pair["both"]))
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plug, server_hostname="127.0.0.1")


def test_those_who_speak_no_tls_leave_the_others_alone(
    start: Start, connect: Connect, read: Read, plug_in: PlugIn, pair: dict[str, Path]
) -> None:
    server = start(tls_cert=pair["cert"], tls_key=pair["key"])
    client = connect(server, ssl=ssl.create_default_context(cafile=pair["cert"]))
    read(client)
    plugs = [plug_in(server) for _ in range(20)]
    for number, plug in enumerate(plugs):
        plug.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" if number % 2 else bytes(range(256)) * number)
    server.publish(Error("still here"))
    assert read(client) == Error("still here")


def test_a_reader_that_does_not_read_is_closed_over_tls_too(
    start: Start, connect: Connect, read: Read, make_frame: Callable[..., Message], pair: dict[str, Path]
) -> None:
    server = start(tls_cert=pair["cert"], tls_key=pair["key"], stall_timeout_s=0.5)
    client = connect(server, ssl=ssl.create_default_context(cafile=pair["cert"]), max_queue=1)
    other = connect(server, "/?top=1", ssl=ssl.create_default_context(cafile=pair["cert"]))
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
        ("key", "key", "no PEM pair"),
        ("missing", "key", "No such file or directory"),
        ("cert", "missing", "No such file or directory"),
    ],
)
def test_files_that_are_of_no_use_are_one_line(
    start: Start, pair: dict[str, Path], tmp_path: Path, cert: str, key: str | None, why: str
) -> None:
    files = {**pair, "missing": tmp_path / "missing.pem"}
    with pytest.raises(OutputError) as error:
        start(tls_cert=files[cert], tls_key=files[key] if key else None)
    assert str(error.value).endswith(f": cannot be used for TLS: {why}")
    assert str(files[cert]) in str(error.value)
    assert "\n" not in str(error.value)


def test_sound_is_sent_encrypted_and_waits_where_there_is_no_room(
    start_intake: Start,
    engine: FakeEngine,
    connect: Connect,
    rest: Rest,
    until: Callable[[Callable[[], bool]], None],
    pair: dict[str, Path],
) -> None:
    server = start_intake(tls_cert=pair["cert"], tls_key=pair["key"])
    client = connect(server, "/ingest/mic", ssl=ssl.create_default_context(cafile=pair["cert"]))
    client.send(b"1234")
    until(lambda: "mic" in engine.feeds and engine.feeds["mic"].pushes == 1)
    feed = engine.feeds["mic"]
    feed.room = False
    client.send(b"5678")
    until(lambda: feed.pushes == 2)
    for _ in range(8):
        client.send(bytes(100_000))
    feed.room = True
    feed.on_writable()
    client.send('{"type":"end"}')
    until(lambda: feed.end_said)
    assert len(feed.heard) == 8 + 800_000
    engine.end("mic")
    assert [message.type for message in rest(client)] == ["hello", "ready", "end"]
    assert client.close_code == 1000
