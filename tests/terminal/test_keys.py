"""Keys of a real pseudo-terminal, and what is left of it afterwards."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.terminal.keys import MAX_PENDING, Keys, strip_sequences

termios = pytest.importorskip("termios", reason="needs POSIX terminals")

# The session leader takes the terminal that it opens first as its own, as a shell's does.
PROGRAM = """
import os, signal, subprocess, sys, time
terminal = os.open(sys.argv[1], os.O_RDWR)
os.dup2(terminal, 0)
from streamtag.terminal.keys import Keys

class View:
    def hide(self): print("hide", flush=True)
    def show(self): print("show", flush=True)

def ask(keys, until):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        key = keys.read()
        if key is not None:
            print("key " + ascii(key), flush=True)
            if key == until:
                return
        time.sleep(0.005)

with Keys(View()) as keys:
    print("ready" if keys.is_available else "no terminal", flush=True)
    BODY
print("over", flush=True)
"""
UNTIL_Q = "ask(keys, 'q')"
FAILS = "raise RuntimeError"
BACKGROUND = """ask(keys, 'a')
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0)
    os.tcsetpgrp(0, other.pid)
    print("others' key", ascii(keys.read()), ascii(keys.read()), flush=True)
    os.tcsetpgrp(0, os.getpgrp())
    other.kill()
    other.communicate()
    ask(keys, 'q')"""


class OnTerminal:
    """A program whose standard input is a terminal of its own."""

    def __init__(self, body: str) -> None:
        self.master, self.slave = os.openpty()
        self.found = termios.tcgetattr(self.slave)
        command = [sys.executable, "-c", PROGRAM.replace("BODY", body), os.ttyname(self.slave)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

        self._watchdog = threading.Timer(60, self.process.kill)  # so that no test waits for a line for ever
        self._watchdog.start()

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def quit(self) -> None:
        self.type(b"q")
        assert [self.line(), self.line()] == ["key 'q'", "over"]
        assert self.as_it_was

    @property
    def raw(self) -> bool:
        """Whether keys come singly and unechoed."""
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO)

    @property
    def as_it_was(self) -> bool:
        return bool(termios.tcgetattr(self.slave) == self.found)

    def close(self) -> None:
        self._watchdog.cancel()
        self.process.kill()
        self.process.communicate()
        os.close(self.master)
        os.close(self.slave)


Start = Callable[[str], OnTerminal]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(body: str) -> OnTerminal:
            terminal = OnTerminal(body)
            stack.callback(terminal.close)
            return terminal

        yield start


def _stopped(process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pid, status = os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)
        if pid:
            return os.WIFSTOPPED(status)
        time.sleep(0.01)
    return False


def test_keys_are_read_singly_without_echo_and_the_modes_are_restored(start: Start) -> None:
    terminal = start(UNTIL_Q)
    assert terminal.line() == "ready"
    assert terminal.raw
    for key in ("r", " ", "é"):
        terminal.type(key.encode())
        assert terminal.line() == f"key {key!a}"
    terminal.type(b"\x1b[A\x1b[15~\x1bOP\x1bxn")  # arrows and function keys are ignored
    assert terminal.line() == "key 'n'"
    terminal.quit()
    os.set_blocking(terminal.master, False)
    with pytest.raises(BlockingIOError):  # nothing was echoed
        os.read(terminal.master, 100)


@pytest.mark.parametrize(("body", "keys", "code"), [(FAILS, b"", 1), (UNTIL_Q, b"\x03", -signal.SIGINT)])
def test_the_modes_are_restored_after_an_error_and_ctrl_c(start: Start, body: str, keys: bytes, code: int) -> None:
    terminal = start(body)
    terminal.line()
    terminal.type(keys)
    assert terminal.process.wait(30) == code
    assert terminal.as_it_was


def test_ctrl_z_restores_the_modes_and_fg_sets_them_again(start: Start) -> None:
    terminal = start(UNTIL_Q)
    terminal.line()
    terminal.type(b"\x1a")
    assert terminal.line() == "hide"
    assert _stopped(terminal.process)
    assert terminal.as_it_was
    terminal.process.send_signal(signal.SIGCONT)
    assert terminal.line() == "show"
    assert terminal.raw
    terminal.quit()


def test_after_a_stop_from_outside_the_modes_are_set_again(start: Start) -> None:
    terminal = start(UNTIL_Q)
    terminal.line()
    terminal.process.send_signal(signal.SIGSTOP)
    assert _stopped(terminal.process)
    termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.found)  # as a shell does
    terminal.process.send_signal(signal.SIGCONT)
    end = time.monotonic() + 30
    while not terminal.raw and time.monotonic() < end:
        time.sleep(0.01)
    assert terminal.raw
    terminal.quit()  # and not as it was when it came back


def test_in_the_background_no_keys_are_read(start: Start) -> None:
    terminal = start(BACKGROUND)
    terminal.line()
    terminal.type(b"a")
    assert [terminal.line() for _ in range(4)] == ["key 'a'", "hide", "others' key None None", "show"]
    terminal.quit()


def test_without_a_terminal_there_are_no_keys() -> None:
    with Path(os.devnull).open() as nothing, Keys(file=nothing) as keys:
        assert not keys.is_available
        assert keys.read() is None
    with Keys(file=io.StringIO("q")) as keys:
        assert keys.read() is None


def test_keys_come_from_standard_error_while_standard_input_carries_audio(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, slave = os.openpty()
    with Path(os.devnull).open() as sound, os.fdopen(slave, "r+b", buffering=0) as both:
        monkeypatch.setattr(sys, "stdin", sound)
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(both, write_through=True))
        with Keys() as keys:
            assert keys.is_available
            os.write(master, b"q")
            assert keys.read() == "q"
        with Path(os.ttyname(slave)).open("w") as only_written:
            monkeypatch.setattr(sys, "stderr", only_written)
            with Keys() as keys:
                assert not keys.is_available
    os.close(master)


def test_handlers_are_restored_and_pending_keys_are_bounded() -> None:
    master, slave = os.openpty()
    file = os.fdopen(slave, "r")
    with Keys(file=file) as keys:
        assert signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL
        os.write(master, b"x" * 1000)
        pressed = 0
        while keys.read() is not None:
            pressed += 1
        assert pressed <= 2 * MAX_PENDING
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
    file.close()
    os.close(master)


def test_a_terminal_that_is_closed_has_no_keys() -> None:
    master, slave = os.openpty()
    file = os.fdopen(slave, "r")
    with Keys(file=file) as keys:
        os.close(master)
        assert keys.read() is None
        assert keys.read() is None
    file.close()


@given(st.text(max_size=50))
def test_no_escape_sequence_remains(text: str) -> None:
    assert "\x1b" not in strip_sequences(text)
