"""Notices and errors of a command that serves."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from websockets.sync.client import connect

from streamtag.audio.source import SourceNotice
from streamtag.cli.options import Verbosity
from streamtag.cli.runtime import Reporter, start_server
from streamtag.cli.serve_output import MAX_NOTICES, ConsoleQueue
from streamtag.errors import SourceError
from streamtag.protocol.messages import Error, Gap, Hello
from streamtag.server.config import ServerConfig
from streamtag.terminal.live_panel import LivePanel
from tests.cli.conftest import MakeSound, Run

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


def test_notices_of_a_server_come_with_its_messages_and_the_oldest_are_dropped_where_nobody_reads() -> None:
    queue = ConsoleQueue(10)
    queue.put_all([Gap("mic", 0.5, 0.1)])
    for number in range(2 * MAX_NOTICES):
        queue.notify(str(number))
    assert queue.read(0) == ([str(number) for number in range(MAX_NOTICES, 2 * MAX_NOTICES)], [Gap("mic", 0.5, 0.1)])
    assert queue.read(0) == ([], [])


def test_reports_go_to_the_view_while_it_is_shown() -> None:
    file, shown = io.StringIO(), list[SourceNotice]()
    view = SimpleNamespace(is_shown=True, notify=shown.append)
    reporter = Reporter(file, Verbosity.verbose)
    reporter.view = cast(LivePanel, view)
    back = SourceNotice("the microphone is back", is_problem=False)
    reporter.notify(back)
    reporter.note("a gap")
    reporter.fail("no sound")
    reporter.detail("a detail")
    assert shown == [back, SourceNotice("a gap"), SourceNotice("no sound"), SourceNotice("a detail", is_problem=False)]
    assert reporter.has_failed
    assert file.getvalue() == ""
    view.is_shown = False
    reporter.notify(back)
    assert (file.getvalue(), len(shown)) == ("streamtag: the microphone is back\n", 4)


def test_quiet_and_verbose_commands(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    path, table = make_sound("a.mp3", 2), tmp_path / "t.csv"
    for arguments, result in (
        (["file", path, "--json"], "frame"),
        (["catalog", path, "--out", table], ""),
    ):
        quiet = streamtag(*arguments, "--quiet")
        assert (quiet.code, quiet.err) == (0, "")
        verbose = streamtag(*arguments, "--verbose")
        assert result in quiet.out
        assert verbose.out == quiet.out
        for part in ("Python", "torch", "device cpu", "50 tags", "loaded in", "took"):
            assert part in verbose.err
        assert all(line.startswith("streamtag: ") for line in verbose.err.splitlines())
    assert "a.mp3: mp3" in streamtag("file", path, "--verbose").err
    missing = streamtag("file", path, tmp_path / "missing.wav", "--quiet")
    assert (missing.code, missing.err) == (1, f"streamtag: {tmp_path / 'missing.wav'}: no such file\n")
    both = streamtag("file", path, "--quiet", "--verbose")
    assert (both.code, both.err.splitlines()[0]) == (2, "streamtag file: --verbose and --quiet exclude each other")
