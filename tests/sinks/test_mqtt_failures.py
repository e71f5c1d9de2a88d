"""The MQTT sink and brokers that misbehave."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.sinks.conftest import Notices, Open, event
from tests.sinks.mosquitto import WAIT_S, free_port

CONNECTED = b"\x20\x02\x00\x00"
PUBLISH = b"\x30\x0a\x00\x04spam" + b"spam"


@pytest.fixture
def stub() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """stub(answer) -> the URL of a server that calls answer(connection) for each connection."""
    with ExitStack() as resources:

        def stub(answer: Callable[[socket.socket], None]) -> str:
            listener = resources.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection:
                        try:
                            answer(connection)
                        except OSError:
                            continue

            thread = threading.Thread(target=serve, daemon=True)
            resources.callback(thread.join, WAIT_S)
            resources.callback(listener.shutdown, socket.SHUT_RDWR)
            thread.start()
            return f"mqtt://127.0.0.1:{listener.getsockname()[1]}/home"

        yield stub


Stub = Callable[[Callable[[socket.socket], None]], str]


def test_a_broker_that_floods_is_left(stub: Stub, open_sink: Open, notices: Notices) -> None:
    connections, came_again = itertools.count(1), threading.Event()

    def flood(connection: socket.socket) -> None:
        if next(connections) == 3:
            came_again.set()
        connection.recv(1024)
        connection.sendall(CONNECTED)
        while True:
            connection.sendall(1000 * PUBLISH)

    sink = open_sink(stub(flood), stable_connection_s=10.0)
    sink.write(event(0))
    notices.wait_for("messages that nobody asked for")
    assert came_again.wait(WAIT_S)
    assert notices.texts == ["the broker sends messages that nobody asked for: trying again"]


def test_a_broker_that_never_answers_delays_nobody(stub: Stub, open_sink: Open, notices: Notices) -> None:
    end, given_up = threading.Event(), []

    def be_silent(_: socket.socket) -> None:
        if not end.wait(WAIT_S):
            given_up.append(True)

    sink = open_sink(stub(be_silent), answer_timeout_s=0.2)
    sink.write(event(0))
    assert notices.wait_for("trying again") == ["no answer: trying again"]
    sink.close()
    assert not given_up  # it was silent all the time
    assert notices.texts[1:] == ["1 event not published"]
    end.set()


def test_a_broker_that_confirms_nothing_is_given_up(stub: Stub, open_sink: Open, notices: Notices) -> None:
    def swallow(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(CONNECTED)
        while connection.recv(65536):
            pass

    sink = open_sink(stub(swallow), answer_timeout_s=0.2)
    sink.write(event(0))
    assert notices.wait_for("trying again") == ["no answer: trying again"]


def test_events_beyond_the_bound_are_counted(open_sink: Open, notices: Notices) -> None:
    sink = open_sink(f"mqtt://127.0.0.1:{free_port()}/home", max_events=3)
    for number in range(5):
        sink.write(event(number))
    sink.close()
    sink.close()
    assert notices.texts == ["no connection (connection refused): trying again", "5 events not published"]
