"""Notices and errors of a command that serves."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import replace

import pytest
from websockets.sync.client import connect

from streamtag.cli.runtime import Reporter, start_server
from streamtag.errors import SourceError
from streamtag.protocol.messages import Error, Hello
from streamtag.server.config import ServerConfig

HELLO = Hello("streamtag", "small", ("guitar",), 16000, 0.256, 0.512, 0.384, (0.5,))


@pytest.mark.parametrize(
    ("host", "token", "warned"),
    [("127.0.0.1", None, False), ("localhost", None, False), ("0.0.0.0", None, True), ("0.0.0.0", "secret", False)],
)
def test_a_server_that_others_can_reach_without_a_password_warns(host: str, token: str | None, warned: bool) -> None:
    notices = io.StringIO()
    with ExitStack() as resources:
        server = start_server(ServerConfig(host, 0, token), HELLO, Reporter(notices), resources)
        lines = notices.getvalue().splitlines()
        assert lines[0] == f"streamtag: serving on {server.address}"
        assert [line for line in lines if "--token" in line] == lines[1:]
        assert len(lines) == 1 + warned


def test_errors_of_the_command_reach_subscribers() -> None:
    reporter = Reporter(io.StringIO())
    with ExitStack() as resources:
        server = start_server(ServerConfig(port=0), HELLO, reporter, resources)
        with connect(server.address.replace("http", "ws", 1), compression=None) as subscriber:
            assert subscriber.recv(timeout=20) == replace(HELLO, streams=()).to_json()
            reporter.error(SourceError("a.mp3: no such file"))
            assert subscriber.recv(timeout=20) == Error("a.mp3: no such file").to_json()
    assert reporter.has_failed
