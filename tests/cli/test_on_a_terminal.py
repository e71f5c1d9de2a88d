"""Programs on a terminal: what they draw, their keys, their end, and what goes where."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from streamtag.protocol.messages import End, History
from tests.cli.conftest import TIMEOUT_S, MakeSound, StartProgram, read_lines
from tests.cli.serve_process import as_pcm, tones
from tests.cli.watch_server import HELLO, make_frame, on_air
from tests.server.support import read_all

ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07)")


class Screen:
    """A program on a terminal of its own, 80 x 24, also its standard output unless `stdout` is another. text: all that
    it drew so far."""

    def __init__(self, program: StartProgram, *arguments: str | Path, **others: Any) -> None:
        self._termios = pytest.importorskip("termios", reason="needs pseudo-terminals")
        self.master, self.slave = os.openpty()
        self.resize(80, 24)
        self.found = self._termios.tcgetattr(self.slave)
        hidden = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
        place = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave}
        self.process = program(*arguments, **{**place, "env": environment, "start_new_session": True, **others})
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
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            lines = self.lines()
            if lines and true(lines):
                return lines
            time.sleep(0.02)
        raise AssertionError("\n".join(self.lines()))

    def until_text(self, text: str) -> None:
        end = time.monotonic() + TIMEOUT_S
        while text not in self.text and time.monotonic() < end:
            time.sleep(0.02)
        assert text in self.text

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        code = self.process.wait(TIMEOUT_S)
        assert self._termios.tcgetattr(self.slave) == self.found
        os.close(self.slave)
        self._reader.join(TIMEOUT_S)
        os.close(self.master)
        return code


@pytest.mark.slow
@pytest.mark.parametrize("is_piped", [True, False])
def test_the_progress_of_a_file_is_drawn_and_erased_and_the_table_goes_to_standard_output(
    program: StartProgram, make_sound: MakeSound, model: Path, is_piped: bool
) -> None:
    others = {"stdout": subprocess.PIPE} if is_piped else {}
    screen = Screen(program, "file", make_sound(seconds=2), "--realtime", "--model", model, **others)
    out, _ = screen.process.communicate(timeout=120)
    assert screen.end() == 0
    view, _, after = screen.text.rpartition("\x1b[2K")
    assert "x real time" in view
    assert "━" in view
    assert "x real time" not in after
    table = out if is_piped else ANSI.sub("", after)
    assert "song.wav  0:02  " in table
    assert "over time" in table
    assert "\x1b" not in table
    assert ("over time" in screen.text) == (not is_piped)


@pytest.mark.slow
def test_the_streams_of_a_server_are_in_a_table_until_the_end(program: StartProgram, model: Path) -> None:
    screen = Screen(program, "serve", "0", "--max-streams", "8", "--device", "cpu", "--model", model)
    screen.until_text("room for")
    (port,) = re.findall(r"serving on http://127\.0\.0\.1:(\d+)/", screen.text)
    with connect(f"ws://127.0.0.1:{port}/ingest/mic", compression=None, proxy=None) as client:
        client.send(as_pcm(tones(2.9)))
        screen.until_text("1 of 8 streams")
        screen.until_text("0:02")
        screen.process.send_signal(signal.SIGINT)
        assert isinstance(read_all(client)[-1], End)
    screen.until_text("mic: ended after 0:03")
    assert screen.end() == 130
    assert screen.text.rindex("\x1b[?25h") > screen.text.rindex("1 of 8 streams")  # the cursor is back


def _shows(*texts: str) -> Callable[[list[str]], bool]:
    return lambda lines: all(any(text in line for line in lines) for text in texts)


def test_on_a_terminal_the_panel_follows_keys_and_the_terminals_size(program: StartProgram) -> None:
    with on_air("mic", "song.mp3") as server:
        screen = Screen(program, "watch", server.address)
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


def test_only_a_panel_asks_for_the_past(program: StartProgram) -> None:
    paths: list[str] = []

    def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        connection.send(HELLO.to_json())
        connection.send(History("mic", (0.25, 0.5), {"guitar": (0.9, 0.8)}, {}, ("guitar",)).to_json())
        connection.send(make_frame(3, "mic").to_json())
        connection.recv()

    with serve(talk, "127.0.0.1", 0, close_timeout=1) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"127.0.0.1:{server.socket.getsockname()[1]}/?top=5"
            screen = Screen(program, "watch", address)
            screen.until(_shows("guitar", "latency 0.40 s"))
            screen.type("q")
            assert screen.end() == 0
            process = program("watch", address, "--json")
            assert [json.loads(line)["type"] for line in read_lines(process, 2)] == ["hello", "frame"]
            process.kill()  # the server waits until it is gone
        finally:
            server.shutdown()
            thread.join(TIMEOUT_S)
    assert paths == ["/?top=5&history=40", "/?top=5"]


def test_the_panel_reports_a_server_that_is_gone_and_ctrl_c_ends_it(program: StartProgram) -> None:
    with on_air("mic") as server:
        screen = Screen(program, "watch", server.address)
        screen.until(_shows("guitar", "latency"))
    screen.until(_shows("no connection (Connection refused)", "waiting"))
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 130
    assert "Traceback" not in screen.text
