"""`streamtag watch` as a program of its own, against the real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from streamtag.cli.watch_view import missing_stream
from streamtag.client.address import ServerAddress
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Hello, History, Message
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.cli.conftest import COMMAND, Run, pipe

TIMEOUT_S = 60.0
HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp", "rock"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1, 0.5))
ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07)")
Start = Callable[..., subprocess.Popen[str]]


def _frame(number: int, stream: str, tags: tuple[str, ...] = HELLO.tags) -> Frame:
    probs = {tag: round(0.9 / (1 + place), 4) for place, tag in enumerate(tags)}
    return Frame(stream, number, 0.25 * number - 0.25, 0.25 * number + 0.25, probs, 0.4)


@contextmanager
def _on_air(*streams: str, port: int = 0, hello: Hello = HELLO, **settings: Any) -> Iterator[ServerThread]:
    """A server whose streams go on, ten times as fast as sound would."""
    over = threading.Event()

    def play() -> None:
        number = 0
        while not over.wait(0.025):
            for stream in streams:
                server.publish(_frame(number, stream, hello.tags))
            number += 1

    with ServerThread(ServerConfig(port=port, **settings), hello) as server:
        player = threading.Thread(target=play)
        player.start()
        try:
            yield server
        finally:
            over.set()
            player.join(TIMEOUT_S)


@pytest.fixture
def start() -> Iterator[Start]:
    """start(*arguments) -> `streamtag watch`, ended with the test."""
    with ExitStack() as stack:

        def start(*arguments: str, **others: Any) -> subprocess.Popen[str]:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = subprocess.Popen([*COMMAND, "watch", *arguments], text=True, **{**pipes, **others})

            watchdog = threading.Timer(TIMEOUT_S, process.kill)  # so that no test waits for a line for ever
            watchdog.start()

            def close() -> None:
                watchdog.cancel()
                process.kill()
                process.communicate()

            stack.callback(close)
            return process

        yield start


def _read(process: subprocess.Popen[str], count: int) -> list[str]:
    return [pipe(process.stdout).readline().rstrip("\n") for _ in range(count)]


def test_json_lines_are_the_messages_of_the_server(start: Start) -> None:
    messages: list[Message] = [
        _frame(1, "mic"),
        Event("mic", "guitar", "on", 0.25),
        Gap("mic", 0.5, 1.5),
        Error("unplugged", "mic"),
        End("mic", 2.0, 1, {"guitar": 0.5}),
    ]
    with ServerThread(ServerConfig(port=0, token="secret"), HELLO) as server:
        process = start(server.address, "--json", "--token", "secret")
        assert _read(process, 1) == [replace(HELLO, streams=()).to_json()]
        for message in messages:
            server.publish(message)
        assert _read(process, len(messages)) == [message.to_json() for message in messages]


def test_top_and_tags_filter_the_messages_and_for_ends_it_with_a_summary(streamtag: Run) -> None:
    with _on_air("mic") as server:
        answer = streamtag(
            *["watch", "--json", "--tags", "harp,ROCK", "--top", "1", "--for", "1"], server.address, small=False
        )
        label = server.address.replace("http", "ws")
    messages = [json.loads(line) for line in answer.lines]
    assert answer.code == 0
    assert [message["type"] for message in messages[:3]] == ["hello", "frame", "frame"]
    assert {tuple(message["tags"].items()) for message in messages[1:]} == {(("harp", 0.45),)}
    assert messages[1]["latency_s"] == 0.4
    assert re.fullmatch(rf"streamtag: {re.escape(label)}: watched for 0:01: \d+ frames\n", answer.err)


def test_a_pipe_gets_lines(streamtag: Run) -> None:
    with _on_air("mic", "song.mp3") as server:
        url = f"{server.address}streams/mic"
        one = streamtag("watch", url, "--top", "2", "--for", "0.5", small=False).lines
        several = streamtag("watch", server.address, "--top", "1", "--for", "0.5", small=False).lines
    assert len(one) > 2
    assert all(re.fullmatch(r"\d+:\d\d  guitar 0\.90  harp 0\.45", line) for line in one)
    assert all(re.fullmatch(r"(mic|song\.mp3)  \d+:\d\d  guitar 0\.90", line) for line in several)
    assert {line.split()[0] for line in several} == {"mic", "song.mp3"}


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), 1, "the server refuses (HTTP 401)"),
        (("--token", "wrong"), 1, "the server refuses (HTTP 401)"),
        (("--token", "secret", "--tags", "guitr"), 2, "guitr: not a tag of this model (did you mean 'guitar'?)"),
        (("--token", "secret", "--ca", "none.pem"), 1, "--ca is for wss:// addresses"),
    ],
)
def test_a_mistake_is_one_line_and_an_error_message(
    streamtag: Run, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    with _on_air("mic", token="secret") as server:
        answer = streamtag("watch", server.address, "--json", *arguments, small=False)
    assert answer.code == code
    assert answer.err.startswith("streamtag")
    assert answer.err.count("\n") == code  # wrong usage has a hint
    assert reason in answer.err
    assert reason in json.loads(answer.lines[-1])["message"]
    assert "secret" not in answer.err


@pytest.mark.parametrize(
    ("path", "running", "notice"),
    [
        ("/streams/mic", ("hall 2", "mic"), None),
        ("", ("hall 2",), None),
        ("/streams/my%20mic", (), "my mic: no such stream now, there is none; waiting for it"),
        ("/streams/x", ("hall 2", "mic"), "x: no such stream now, there are hall 2, mic; waiting for it"),
        (
            "/streams/x",
            tuple("abcdefghij"),
            "x: no such stream now, there are a, b, c, d, e, f, g, h, and 2 more; waiting for it",
        ),
    ],
)
def test_a_stream_that_does_not_run(path: str, running: tuple[str, ...], notice: str | None) -> None:
    assert missing_stream(ServerAddress.parse(f"8765{path}"), replace(HELLO, streams=running)) == notice
    assert missing_stream(ServerAddress.parse(f"8765{path}"), HELLO) is None  # a server that does not say


def test_a_missing_stream_is_reported_and_the_address_needs_no_scheme(streamtag: Run) -> None:
    with _on_air("mic") as server:
        address = server.address.removeprefix("http://127.0.0.1:")
        answer = streamtag("watch", f"{address}streams/nobody", "--for", "0.5", small=False)
    assert answer.code == 0
    assert answer.err.startswith("streamtag: nobody: no such stream now, there ")


def test_a_signal_ends_it_cleanly(start: Start) -> None:
    with _on_air("mic") as server:
        process = start(server.address, "--json")
        _read(process, 3)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 143
    assert all(json.loads(line) for line in out.splitlines())
    assert err.count("\n") == 1
    assert "watched for 0:0" in err


def test_a_signal_ends_it_while_there_is_no_server(start: Start) -> None:
    process = start("127.0.0.1:9")
    assert "no connection (Connection refused): trying again" in pipe(process.stderr).readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130


def test_a_closed_pipe_ends_it_quietly(start: Start) -> None:
    with _on_air("mic") as server:
        process = start(server.address, "--json")
        _read(process, 2)
        pipe(process.stdout).close()
        assert process.wait(TIMEOUT_S) == 141
        assert pipe(process.stderr).read() == ""


def test_it_continues_when_the_server_returns_even_with_another_model(start: Start) -> None:
    with _on_air("mic") as server:
        port = int(server.address.rstrip("/").rpartition(":")[2])
        process = start(server.address)
        assert "guitar" in _read(process, 1)[0]
    assert "the connection was closed (1001" in pipe(process.stderr).readline()
    other = Hello("streamtag 0.2.0", "other", ("piano", "flute"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1))
    with _on_air("mic", port=port, hello=other):
        lines = iter(lambda: _read(process, 1)[0], "")
        assert any("piano 0.90" in line for line in lines)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert ": connected\n" in err


def test_watch_and_replay_start_without_torch() -> None:
    modules = "streamtag.cli.watch_view, streamtag.client.subscriber, streamtag.cli.player"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT_S).returncode == 0


# --- on a terminal --------------------------------------------------------------------------------------------------


class Screen:
    """`streamtag watch` on a terminal of its own, 80 x 24. text: all that it drew so far."""

    def __init__(self, start: Start, *arguments: str) -> None:
        self._termios = pytest.importorskip("termios", reason="needs pseudo-terminals")
        self.master, self.slave = os.openpty()
        self.resize(80, 24)
        self.found = self._termios.tcgetattr(self.slave)
        hidden = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
        place = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave}
        self.process = start(*arguments, env=environment, start_new_session=True, **place)
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while part := os.read(self.master, 1 << 16):
                self._parts.append(part)
        except OSError:
            pass

    def resize(self, width: int, height: int) -> None:
        self._termios.tcsetwinsize(self.slave, (height, width))

    @property
    def text(self) -> str:
        return b"".join(self._parts).decode("utf-8", "replace")

    def lines(self) -> list[str]:
        """The last whole drawing."""
        drawings = self.drawings()
        return ANSI.sub("", drawings[-2]).replace("\r", "").split("\n") if len(drawings) > 2 else []

    def drawings(self) -> list[str]:
        return self.text.split("\x1b[H")

    def until(self, true: Callable[[list[str]], object]) -> list[str]:
        """Waits for a drawing of which it is true."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            lines = self.lines()
            if lines and true(lines):
                return lines
            time.sleep(0.02)
        raise AssertionError("\n".join(self.lines()))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        code = self.process.wait(TIMEOUT_S)
        assert self._termios.tcgetattr(self.slave) == self.found
        os.close(self.slave)
        self._reader.join(TIMEOUT_S)
        os.close(self.master)
        return code


def _shows(*texts: str) -> Callable[[list[str]], bool]:
    return lambda lines: all(any(text in line for line in lines) for text in texts)


def test_on_a_terminal_the_panel_follows_keys_and_the_terminals_size(start: Start) -> None:
    with _on_air("mic", "song.mp3") as server:
        screen = Screen(start, server.address)
        lines = screen.until(_shows("guitar", "█", "latency 0.40 s", "model small", "q quit", "(+1)"))
        first = lines[0].split()[0]
        assert not any("level" in line for line in lines)
        screen.type("n")
        lines = screen.until(lambda lines: lines[0].split()[0] != first)
        assert {first, lines[0].split()[0]} == {"mic", "song.mp3"}
        screen.type(" ")
        frozen = screen.until(_shows("frozen"))
        count = len(screen.drawings())
        assert screen.until(lambda _: len(screen.drawings()) > count + 5) == frozen
        screen.type(" ")
        screen.until(lambda lines: "frozen" not in lines[0])
        for width, height in ((40, 10), (120, 40), (20, 4)):
            screen.resize(width, height)
            lines = screen.until(lambda lines, height=height: len(lines) == height)  # type: ignore[misc]
            assert max(map(len, lines)) <= width
        screen.type("q")
        assert screen.end() == 0
    assert screen.text.startswith("\x1b[?1049h")
    after = screen.text.rpartition("\x1b[?1049l")[2]
    assert "watched for" in after  # on the screen that was there before


def test_only_a_panel_asks_for_the_past(start: Start) -> None:
    paths: list[str] = []

    def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        connection.send(HELLO.to_json())
        connection.send(History("mic", (0.25, 0.5), {"guitar": (0.9, 0.8)}, {}, ("guitar",)).to_json())
        connection.send(_frame(3, "mic").to_json())
        connection.recv()

    with serve(talk, "127.0.0.1", 0, close_timeout=1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"127.0.0.1:{server.socket.getsockname()[1]}/?top=5"
            screen = Screen(start, address)
            screen.until(_shows("guitar", "latency 0.40 s"))
            screen.type("q")
            assert screen.end() == 0
            assert len(_read(start(address, "--json"), 3)) == 3
            assert len(_read(start(address), 1)) == 1  # lines on a pipe
        finally:
            server.shutdown()
            thread.join(TIMEOUT_S)
    assert paths == ["/?top=5&history=40", "/?top=5", "/?top=5"]


def test_the_panel_reports_a_server_that_is_gone_and_ctrl_c_ends_it(start: Start) -> None:
    with _on_air("mic") as server:
        screen = Screen(start, server.address)
        screen.until(_shows("guitar", "latency"))
    screen.until(_shows("no connection (Connection refused)", "waiting"))
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 130
    assert "Traceback" not in screen.text
