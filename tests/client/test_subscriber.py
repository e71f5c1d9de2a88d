"""A subscriber of the real server, and of servers of other kinds."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from streamtag.audio.source import SourceNotice
from streamtag.client.address import ServerAddress
from streamtag.client.subscriber import SubscriberClient
from streamtag.errors import ProtocolError, SourceError
from streamtag.protocol.messages import Frame, Gap, Hello, Message
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread

TIMEOUT_S = 20.0
HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1))
GREETING = replace(HELLO, streams=())  # of a server without streams
Stub = Callable[..., int]
Subscribe = Callable[..., SubscriberClient]


def _read(subscriber: SubscriberClient) -> Message | SourceNotice:
    """Return what comes next; fail if nothing does."""
    item = subscriber.read(TIMEOUT_S)
    assert item is not None
    return item


def _frame(number: int, stream: str = "mic") -> Frame:
    start = 0.25 * number  # which survives its rounding on the way
    return Frame(stream, number, start, start + 0.5, {"guitar": 0.9, "harp": 0.1}, 0.4)


@pytest.fixture
def server() -> Iterator[ServerThread]:
    with ServerThread(ServerConfig(port=0), HELLO) as server:
        yield server


@pytest.fixture
def subscribe() -> Iterator[Subscribe]:
    """subscribe(port or address, **others) -> a subscriber that reconnects soon, until the test ends."""
    with ExitStack() as stack:

        def subscribe(where: int | str, **others: Any) -> SubscriberClient:
            address = ServerAddress.parse(where if isinstance(where, str) else f"127.0.0.1:{where}")
            return stack.enter_context(SubscriberClient(address, first_delay_s=0.02, **others))

        yield subscribe


@pytest.fixture
def stub() -> Iterator[Stub]:
    """stub(messages, process_request) -> the port of a WebSocket server that is not ours, which says these."""
    with ExitStack() as stack:

        def stub(messages: Sequence[str | bytes], process_request: Any = None) -> int:
            def talk(connection: ServerConnection) -> None:
                for message in messages:
                    connection.send(message)
                connection.recv(TIMEOUT_S)

            server = serve(talk, "127.0.0.1", 0, process_request=process_request, close_timeout=1)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join, TIMEOUT_S)
            stack.callback(server.shutdown)
            return int(server.socket.getsockname()[1])

        yield stub


def test_messages_arrive_as_they_were_published(server: ServerThread, subscribe: Subscribe) -> None:
    subscriber = subscribe(server.address)
    assert _read(subscriber) == GREETING
    published: list[Message] = [_frame(1), Gap("mic", 0.5, 1.5), _frame(9)]
    for message in published:
        server.publish(message)
    assert [_read(subscriber) for _ in published] == published
    assert subscriber.read(0.01) is None


def test_a_subscriber_reconnects_when_the_server_returns(server: ServerThread, subscribe: Subscribe) -> None:
    address = ServerAddress.parse(server.address)
    subscriber = subscribe(server.address)
    assert _read(subscriber) == GREETING
    server.close()
    notices = [_read(subscriber), _read(subscriber)]
    assert [notice.is_problem for notice in notices if isinstance(notice, SourceNotice)] == [True, True]
    texts = [notice.text for notice in notices if isinstance(notice, SourceNotice)]
    assert "1001" in texts[0]
    assert texts[1].endswith("no connection (Connection refused): trying again")
    assert subscriber.read(0.3) is None  # the same problem is reported once
    with ServerThread(ServerConfig(port=urlsplit(address.url).port or 0), HELLO) as returned:
        assert _read(subscriber) == SourceNotice(f"{address.label}: connected", is_problem=False)
        assert _read(subscriber) == GREETING
        returned.publish(_frame(1))
        assert _read(subscriber) == _frame(1)


def test_the_past_is_asked_for_with_every_connection_unless_the_address_asks_for_some(
    stub: Stub, subscribe: Subscribe
) -> None:
    paths: list[str] = []
    too_long = "x" * (2 << 20)  # which ends the connection, and nothing else

    def note(_: ServerConnection, request: Request) -> None:
        paths.append(request.path)

    port = stub([HELLO.to_json(), too_long], note)
    for where in (f"127.0.0.1:{port}", f"127.0.0.1:{port}/?top=1&history=0"):
        subscriber = subscribe(where, history_s=60)
        assert _read(subscriber) == HELLO
        assert "1009" in getattr(_read(subscriber), "text", "")
        assert "connected" in getattr(_read(subscriber), "text", "")
        assert _read(subscriber) == HELLO
        subscriber.close()
    assert paths[:2] == ["/?history=60"] * 2
    assert paths[-2:] == ["/?top=1&history=0"] * 2


def test_an_older_server_is_asked_without_the_past(stub: Stub, subscribe: Subscribe) -> None:
    paths: list[str] = []

    def check(connection: ServerConnection, request: Request) -> Response | None:
        paths.append(request.path)
        return connection.respond(400, "'history' is unknown here\n") if "history" in request.path else None

    port = stub([HELLO.to_json()], check)
    assert _read(subscribe(f"127.0.0.1:{port}/?top=1", history_s=60)) == HELLO
    assert paths == ["/?top=1&history=60", "/?top=1"]
    with pytest.raises(SourceError, match=r"HTTP 400"):
        _read(subscribe(f"127.0.0.1:{port}/?history=5", history_s=60))


def test_a_token_is_sent_and_without_it_the_refusal_is_raised(subscribe: Subscribe) -> None:
    with ServerThread(ServerConfig(port=0, token="secret"), HELLO) as server:
        assert _read(subscribe(server.address, token="secret")) == GREETING
        assert _read(subscribe(f"{server.address}?token=secret")) == GREETING
        for wrong in (None, "wrong"):
            with pytest.raises(SourceError, match=r"refuses \(HTTP 401\): .*token") as caught:
                _read(subscribe(server.address, token=wrong))
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["two words\n", "naïve"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(SourceError, match="ASCII"):
        SubscriberClient(ServerAddress.parse("h"), token)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ("hello?", "not a streamtag server: not a message: no JSON"),
        (b"\xff\x00", "not a streamtag server: not a message"),
        (_frame(1).to_json(), "not a streamtag server: it does not begin with a hello"),
        ('{"type":"weather"}', "it does not begin with a hello"),
        (json.dumps({**HELLO.to_dict(), "protocol": 2}), "the other side speaks protocol 2"),
    ],
)
def test_a_websocket_of_another_kind_is_an_error_at_once(
    first: str | bytes, reason: str, stub: Stub, subscribe: Subscribe
) -> None:
    with pytest.raises(ProtocolError, match=reason):
        _read(subscribe(stub([first])))


def test_damaged_messages_are_ignored_and_reported_once(stub: Stub, subscribe: Subscribe) -> None:
    damaged = ("{", '{"type":"weather"}', '{"type":"frame"}', b"\xfe")
    subscriber = subscribe(stub([HELLO.to_json(), *damaged, _frame(3).to_json()]))
    assert _read(subscriber) == HELLO
    notice = _read(subscriber)
    assert isinstance(notice, SourceNotice)
    assert "message ignored: not a message" in notice.text
    assert _read(subscriber) == _frame(3)


@pytest.mark.parametrize("address", ["ws://a..b/", f"ws://{64 * 'x'}.example/"])
def test_a_host_that_cannot_be_looked_up_is_an_error(address: str) -> None:
    with SubscriberClient(ServerAddress.parse(address)) as subscriber, pytest.raises(SourceError, match="not a host"):
        _read(subscriber)


def test_a_server_that_never_answers_does_not_keep_a_client_from_closing(subscribe: Subscribe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        subscriber = subscribe(listener.getsockname()[1])
        assert subscriber.read(0.05) is None
        subscriber.close()


def test_a_client_that_is_not_read_keeps_memory_bounded(server: ServerThread, subscribe: Subscribe) -> None:
    subscriber = subscribe(server.address)
    assert _read(subscriber) == GREETING
    for number in range(20_000):
        server.publish(_frame(number))
    numbers: list[int] = []
    while not numbers or numbers[-1] < 19_999:
        numbers += [message.frame for message in [_read(subscriber)] if isinstance(message, Frame)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 20_000


def test_tls_with_the_user_s_own_certificate(certificates: dict[str, Path], subscribe: Subscribe) -> None:
    cert, key = certificates["cert"], certificates["key"]
    with ServerThread(ServerConfig(port=0, tls_cert=cert, tls_key=key), HELLO) as server:
        assert _read(subscribe(server.address, ca=cert)) == GREETING
        with pytest.raises(SourceError, match="certificate is not trusted"):
            _read(subscribe(server.address))
        plain = _read(subscribe(server.address.replace("https", "ws")))
        assert "hung up before it answered; is it a wss:// address?" in getattr(plain, "text", "")
    with ServerThread(ServerConfig(port=0), HELLO) as server, pytest.raises(SourceError, match="no TLS there"):
        _read(subscribe(server.address.replace("http", "wss"), ca=cert))


def test_a_certificate_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("nothing")
    secure = ServerAddress.parse("wss://h/")
    with pytest.raises(SourceError, match=r"a\.pem: no certificate in it"):
        SubscriberClient(secure, ca=tmp_path / "a.pem")
    with pytest.raises(SourceError, match=r"b\.pem: No such file"):
        SubscriberClient(secure, ca=tmp_path / "b.pem")
    with pytest.raises(SourceError, match="--ca is for wss"):
        SubscriberClient(ServerAddress.parse("ws://h/"), ca=tmp_path / "a.pem")
