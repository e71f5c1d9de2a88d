"""Servers on free ports of this machine, with clients that are closed after the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from streamtag.server.config import IngestConfig
from tests.server.support import LocalServer, Start


@pytest.fixture(autouse=True)
def no_logged_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The server does not log what goes wrong with one connection; an error that it logs is a defect of its own."""
    yield
    records = [*caplog.get_records("call"), *caplog.get_records("teardown")]
    assert [record.getMessage() for record in records if record.levelno >= logging.ERROR] == []


@pytest.fixture
def start() -> Iterator[Start]:
    """start(ingest=None, **fields of ServerConfig) -> a server until the test ends; with an IngestConfig it accepts
    audio."""
    with ExitStack() as servers, ExitStack() as clients:

        def start(ingest: IngestConfig | None = None, **settings: Any) -> LocalServer:
            return servers.enter_context(LocalServer(clients, ingest, **settings))

        yield start


@pytest.fixture
def server(start: Start) -> LocalServer:
    return start()
