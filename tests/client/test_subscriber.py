"""A subscriber against the real server, and against servers of every wrong kind."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import Server as StubServer
from websockets.sync.server import ServerConnection, serve

from streamtag.audio.source import SourceNotice
from streamtag.client.address import ServerAddress
from streamtag.client.subscriber import SubscriberClient, pauses
from streamtag.errors import ProtocolError, SourceError
from streamtag.protocol.messages import Frame, Gap, Hello, Message
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread

PATIENCE_S = 20.0
HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1))
Handler = Callable[[ServerConnection], None]
Stub = Callable[..., int]
Subscribe = Callable[..., SubscriberClient]
Certificate = tuple[Path, Path]


def _soon() -> Iterator[float]:
    while True:
        yield 0.02


def _take(subscription: SubscriberClient) -> Message | SourceNotice:
    """What comes next; fails if nothing does."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        arrival = subscription.read(0.05)
        if arrival is not None:
            return arrival
    raise AssertionError("nothing came")


def _frame(number: int, stream: str = "mic") -> Frame:
    start = 0.25 * number  # which survives its rounding on the way
    return Frame(stream, number, start, start + 0.5, {"guitar": 0.9, "harp": 0.1}, 0.4)


@pytest.fixture
def subscribe() -> Iterator[Subscribe]:
    """subscribe(port or address, **others) -> a subscription that tries again soon, until the test ends."""
    with ExitStack() as stack:

        def subscribe(where: int | str, **others: Any) -> SubscriberClient:
            address = ServerAddress.parse(where if isinstance(where, str) else f"127.0.0.1:{where}")
            return stack.enter_context(SubscriberClient(address, pauses=_soon, **others))

        yield subscribe


@pytest.fixture
def stub() -> Iterator[Stub]:
    """stub(handler, process_request) -> the port of a WebSocket server that is not ours."""
    with ExitStack() as stack:

        def stub(handler: Handler, process_request: Any = None) -> int:
            server: StubServer = serve(handler, "127.0.0.1", 0, process_request=process_request, close_timeout=1)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join, PATIENCE_S)
            stack.callback(server.shutdown)
            return int(server.socket.getsockname()[1])

        yield stub


@pytest.fixture
def plug() -> Iterator[Callable[[bytes], int]]:
    """plug(answer) -> the port of a server that says this to everyone, whatever is asked, and hangs up."""
    with ExitStack() as stack:

        def plug(answer: bytes) -> int:
            listener = socket.create_server(("127.0.0.1", 0))

            def run() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection:
                        connection.recv(4096)
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(4096):
                            pass

            thread = threading.Thread(target=run, daemon=True)
            thread.start()

            def close() -> None:
                listener.shutdown(socket.SHUT_RDWR)
                listener.close()
                thread.join(PATIENCE_S)

            stack.callback(close)
            return int(listener.getsockname()[1])

        yield plug


@pytest.fixture(scope="module")
def certificate(need: Callable[[str, bool, str], None], tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this machine that nobody signed but itself, and its key."""
    openssl = shutil.which("openssl")
    need("openssl", openssl is not None, "needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = [str(openssl), *request, *name, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return cert, key


def test_pauses_double_and_stay_bounded() -> None:
    some = pauses()
    assert [next(some) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_messages_come_as_they_were_told(subscribe: Subscribe) -> None:
    with ServerThread(ServerConfig(port=0), HELLO) as server:
        subscription = subscribe(server.address)
        assert _take(subscription) == HELLO
        told: list[Message] = [_frame(1), Gap("mic", 0.5, 1.5), _frame(9)]
        for message in told:
            server.publish(message)
        assert [_take(subscription) for _ in told] == told
        assert subscription.read(0.01) is None


def test_it_comes_back_when_the_server_does(subscribe: Subscribe) -> None:
    with ServerThread(ServerConfig(port=0), HELLO) as server:
        address = server.address
        subscription = subscribe(address)
        assert _take(subscription) == HELLO
    gone = [_take(subscription), _take(subscription)]
    assert [notice.is_problem for notice in gone if isinstance(notice, SourceNotice)] == [True, True]
    texts = [notice.text for notice in gone if isinstance(notice, SourceNotice)]
    assert texts[0].endswith("the connection was closed (1001): trying again") or "1001" in texts[0]
    assert texts[1].endswith("no connection (Connection refused): trying again")
    assert subscription.read(0.3) is None  # the same trouble is told once
    port = int(address.rstrip("/").rpartition(":")[2])
    with ServerThread(ServerConfig(port=port), HELLO) as server:
        back = _take(subscription)
        assert back == SourceNotice(f"{address.replace('http', 'ws')}: connected", is_problem=False)
        assert _take(subscription) == HELLO
        server.publish(_frame(1))
        assert _take(subscription) == _frame(1)


def test_a_token_opens_and_without_it_the_reason_is_told(subscribe: Subscribe) -> None:
    with ServerThread(ServerConfig(port=0, token="secret"), HELLO) as server:
        assert _take(subscribe(server.address, token="secret")) == HELLO
        assert _take(subscribe(f"{server.address}?token=secret")) == HELLO
        for wrong in (None, "wrong"):
            with pytest.raises(SourceError, match=r"refuses \(HTTP 401\): .*token") as caught:
                _take(subscribe(server.address, token=wrong))
            assert "secret" not in str(caught.value)


def test_a_wish_that_the_server_does_not_understand_is_told(subscribe: Subscribe) -> None:
    with ServerThread(ServerConfig(port=0), HELLO) as server, pytest.raises(SourceError, match=r"HTTP 400\): .*top"):
        _take(subscribe(f"{server.address}?top=many"))


@pytest.mark.parametrize("token", ["", "two words\n", "naïve"])
def test_a_token_that_no_header_can_hold_is_refused_before(token: str) -> None:
    if token:
        with pytest.raises(SourceError, match="ASCII"):
            SubscriberClient(ServerAddress.parse("h"), token)
    else:
        SubscriberClient(ServerAddress.parse("h"), "x" * 100)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "not a streamtag server: it answers with HTTP 200: hello",
        ),
        (b"HTTP/1.1 404 No\r\nContent-Length: 13\r\n\r\n<html>\nwhat?\n", "it answers with HTTP 404$"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 8\r\n\r\n\x1b[2Jgo\n!", r"refuses \(HTTP 403\): \?\[2Jgo$"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not a streamtag server: did not receive a valid HTTP response"),
        (b"\x00\xff" * 100 + b"\r\n", "not a streamtag server"),
        (b"HTTP/1.1 101 Yes\r\nUpgrade: tea\r\nConnection: Upgrade\r\n\r\n", "not a streamtag server: .*tea"),
    ],
)
def test_another_kind_of_server_is_told_at_once(
    answer: bytes, said: str, plug: Callable[[bytes], int], subscribe: Subscribe
) -> None:
    port = plug(answer)
    with pytest.raises(SourceError, match=said) as caught:
        _take(subscribe(port))
    assert str(caught.value).startswith(f"ws://127.0.0.1:{port}/: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("hello?", "not a streamtag server: not a message: no JSON"),
        (b"\xff\x00", "not a streamtag server: not a message"),
        (_frame(1).to_json(), "not a streamtag server: it does not begin with a hello"),
        ('{"type":"weather"}', "it does not begin with a hello"),
        (json.dumps({**HELLO.to_dict(), "protocol": 2}), "the other side speaks protocol 2"),
    ],
)
def test_a_websocket_that_says_something_else_is_told_at_once(
    first: str | bytes, said: str, stub: Stub, subscribe: Subscribe
) -> None:
    def talk(connection: ServerConnection) -> None:
        connection.send(first)
        connection.recv(PATIENCE_S)

    with pytest.raises(ProtocolError, match=said):
        _take(subscribe(stub(talk)))


def test_a_damaged_message_is_passed_over_and_told_once(stub: Stub, subscribe: Subscribe) -> None:
    def talk(connection: ServerConnection) -> None:
        for line in (HELLO.to_json(), "{", '{"type":"weather"}', '{"type":"frame"}', b"\xfe", _frame(3).to_json()):
            connection.send(line)
        connection.recv(PATIENCE_S)

    subscription = subscribe(stub(talk))
    assert _take(subscription) == HELLO
    damaged = _take(subscription)
    assert isinstance(damaged, SourceNotice)
    assert "passed over: not a message" in damaged.text
    assert _take(subscription) == _frame(3)


def test_a_message_without_end_only_costs_the_connection(stub: Stub, subscribe: Subscribe) -> None:
    def talk(connection: ServerConnection) -> None:
        connection.send(HELLO.to_json())
        connection.send("x" * (2 << 20))
        connection.recv(PATIENCE_S)

    subscription = subscribe(stub(talk))
    assert _take(subscription) == HELLO
    notice = _take(subscription)
    assert isinstance(notice, SourceNotice)
    assert "1009" in notice.text
    assert "connected" in getattr(_take(subscription), "text", "")
    assert _take(subscription) == HELLO


def test_a_server_that_is_full_is_asked_again(stub: Stub, subscribe: Subscribe) -> None:
    asked = 0

    def refuse(connection: ServerConnection, request: Request) -> Response | None:  # noqa: ARG001
        nonlocal asked
        asked += 1
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many\n") if asked <= 3 else None

    def talk(connection: ServerConnection) -> None:
        connection.send(HELLO.to_json())
        connection.recv(PATIENCE_S)

    subscription = subscribe(stub(talk, refuse))
    full = _take(subscription)
    assert isinstance(full, SourceNotice)
    assert full.text.endswith("no connection (HTTP 503: too many): trying again")
    assert getattr(_take(subscription), "text", "").endswith(": connected")
    assert _take(subscription) == HELLO
    assert asked == 4


def test_once_known_a_server_may_say_what_it_likes_while_it_is_away(stub: Stub, subscribe: Subscribe) -> None:
    answers = iter([None, HTTPStatus.NOT_FOUND, HTTPStatus.BAD_GATEWAY, None, HTTPStatus.FORBIDDEN])

    def answer(connection: ServerConnection, request: Request) -> Response | None:  # noqa: ARG001
        status = next(answers)
        return None if status is None else connection.respond(status, "")

    def talk(connection: ServerConnection) -> None:
        connection.send(HELLO.to_json())

    subscription = subscribe(stub(talk, answer))
    arrivals: list[Message | SourceNotice] = []

    def take_all() -> None:
        while True:
            arrivals.append(_take(subscription))

    with pytest.raises(SourceError, match="HTTP 403"):
        take_all()
    assert arrivals.count(HELLO) == 2
    texts = [arrival.text for arrival in arrivals if isinstance(arrival, SourceNotice)]
    assert any("HTTP 404" in text for text in texts)
    assert any("HTTP 502" in text for text in texts)


def test_a_server_that_never_answers_does_not_hold_it_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with SubscriberClient(ServerAddress.parse(f"127.0.0.1:{listener.getsockname()[1]}")) as subscription:
            assert subscription.read(0.05) is None
        assert time.monotonic() - began < 10


def test_a_host_that_does_not_exist_is_told(subscribe: Subscribe) -> None:
    try:
        arrival = _take(subscribe("no.such.host.invalid"))
        said = getattr(arrival, "text", "")  # where nobody answers for names, that may pass
    except SourceError as error:
        said = str(error)
    assert re.match(r"ws://no\.such\.host\.invalid/: no (such host: |connection \()", said)


def test_a_reader_that_does_not_take_keeps_memory_bounded(subscribe: Subscribe) -> None:
    with ServerThread(ServerConfig(port=0), HELLO) as server:
        subscription = subscribe(server.address)
        assert _take(subscription) == HELLO
        for number in range(20_000):
            server.publish(_frame(number))
        taken = []
        while not isinstance(arrival := _take(subscription), Frame) or arrival.frame < 19_999:
            taken.append(arrival)
        frames = [message for message in taken if isinstance(message, Frame)]
        numbers = [frame.frame for frame in frames]
        assert numbers == sorted(set(numbers))
        assert len(numbers) < 20_000


def test_tls_with_a_certificate_of_ones_own(certificate: Certificate, subscribe: Subscribe) -> None:
    cert, key = certificate
    with ServerThread(ServerConfig(port=0, tls_cert=cert, tls_key=key), HELLO) as server:
        assert server.address.startswith("https://")
        assert _take(subscribe(server.address, ca=cert)) == HELLO
        with pytest.raises(SourceError, match="certificate is not trusted"):
            _take(subscribe(server.address))
    with ServerThread(ServerConfig(port=0), HELLO) as plain, pytest.raises(SourceError, match="no TLS there"):
        _take(subscribe(plain.address.replace("http", "wss"), ca=cert))


def test_a_plain_connection_to_a_tls_server_is_told(certificate: Certificate, subscribe: Subscribe) -> None:
    cert, key = certificate
    with ServerThread(ServerConfig(port=0, tls_cert=cert, tls_key=key), HELLO) as server:
        arrival = _take(subscribe(server.address.replace("https", "ws")))
    assert isinstance(arrival, SourceNotice)
    assert "hung up before it answered; is it a wss:// address?" in arrival.text


def test_a_certificate_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("nothing")
    secure = ServerAddress.parse("wss://h/")
    with pytest.raises(SourceError, match=r"a\.pem: no certificate in it"):
        SubscriberClient(secure, ca=tmp_path / "a.pem")
    with pytest.raises(SourceError, match=r"b\.pem: No such file"):
        SubscriberClient(secure, ca=tmp_path / "b.pem")
    with pytest.raises(SourceError, match="--ca is for wss"):
        SubscriberClient(ServerAddress.parse("ws://h/"), ca=tmp_path / "a.pem")
