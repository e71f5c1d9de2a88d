"""Single keys from the terminal, as they are pressed."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections import deque
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from streamtag.terminal.widgets import LiveView

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import termios
    import tty

MAX_PENDING = 64  # keys that wait: a pasted book is no command
ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)  # arrows, function keys, Alt with a key


def strip_sequences(text: str) -> str:
    """Return what was typed without the escape sequences of keys that are no characters."""
    return ESCAPE_SEQUENCE.sub("", text)


def can_read_keys(file: TextIO | None) -> bool:
    """Return whether the file is a terminal that is open for reading."""
    if file is None or file.closed or not file.isatty():
        return False
    if sys.platform == "win32":
        return file is sys.stdin
    return fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


class Keys:
    """Single keys without echo, while entered; none where there is no terminal to read them from.

    The terminal's modes are restored on exit, and while the program is stopped or in the background. Owned by the main
    thread, which must read often: Ctrl-Z is also handled there.
    """

    def __init__(self, view: LiveView | None = None, file: TextIO | None = None) -> None:
        """view: hidden while the program is stopped (Ctrl-Z).

        file: None for standard input or, if that carries audio, the terminal that standard error goes to.
        """
        self._view = view
        self._files = (sys.stdin, sys.stderr) if file is None else (file,)
        self._pending: deque[str] = deque(maxlen=MAX_PENDING)
        self._terminal: _Terminal | None = None

    @property
    def is_available(self) -> bool:
        """Whether there is a terminal that keys can come from."""
        return self._terminal is not None

    def __enter__(self) -> Self:
        file = next(filter(can_read_keys, self._files), None)
        if file is not None:
            self._terminal = _Terminal(file.fileno())
        return self

    def __exit__(self, *error: object) -> None:
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            terminal.close()

    def read(self) -> str | None:
        """Return the next key, such as "q" or " ", without waiting, or None."""
        if self._terminal is None:
            return None
        self._terminal.handle_job_control(self._view)
        self._pending.extend(strip_sequences(self._terminal.read()))
        return self._pending.popleft() if self._pending else None


if sys.platform == "win32":

    class _Terminal:
        """A console of Windows: keys come singly by themselves."""

        def __init__(self, descriptor: int) -> None:
            pass

        def handle_job_control(self, view: LiveView | None) -> None:
            pass

        def read(self) -> str:
            text = ""
            while msvcrt.kbhit():
                key = msvcrt.getwch()
                if key in "\x00\xe0":  # the second half names an arrow or a function key
                    msvcrt.getwch()
                else:
                    text += key
            return text

        def close(self) -> None:
            pass

else:

    class _Terminal:
        """A POSIX terminal in cbreak mode while this program is its foreground job; Ctrl-C is still a signal."""

        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor
            self._original_modes: list[Any] | None = None
            self._is_cbreak = self._stop_requested = self._is_hidden = False
            self._handlers = {
                number: signal.signal(number, handler)
                for number, handler in ((signal.SIGTSTP, self._on_stop), (signal.SIGCONT, self._on_continue))
                if signal.getsignal(number) is not signal.SIG_IGN
            }
            self._set_cbreak()

        def _on_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
            self._stop_requested = True

        def _on_continue(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
            self._is_cbreak = False  # the shell has set its own modes meanwhile

        def handle_job_control(self, view: LiveView | None) -> None:
            """Stop the program if Ctrl-Z was pressed, and set the terminal's modes again when it continues."""
            if self._stop_requested:
                self._stop_requested = False
                self._restore_modes()
                self._hide(view)
                os.kill(os.getpid(), signal.SIGSTOP)
            if not self._is_cbreak:
                self._set_cbreak()
            if not self._is_cbreak:
                self._hide(view)  # in the background: another program has the screen
            elif self._is_hidden:
                self._is_hidden = False
                if view is not None:
                    view.show()

        def _hide(self, view: LiveView | None) -> None:
            if not self._is_hidden and view is not None:
                view.hide()
            self._is_hidden = True

        def read(self) -> str:
            if not self._is_foreground():
                self._is_cbreak = False
                return ""  # a read from the background would stop the program
            try:
                ready, _, _ = select.select([self._descriptor], [], [], 0)
                return os.read(self._descriptor, 1024).decode("utf-8", "replace") if ready else ""
            except OSError:  # the terminal has gone
                return ""

        def close(self) -> None:
            self._restore_modes()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

        def _set_cbreak(self) -> None:
            if self._is_foreground():
                with suppress(termios.error):
                    self._original_modes = self._original_modes or termios.tcgetattr(self._descriptor)
                    tty.setcbreak(self._descriptor, termios.TCSADRAIN)
                    self._is_cbreak = True

        def _restore_modes(self) -> None:
            if self._is_cbreak and self._is_foreground():  # else the shell has done it, and asking would stop us
                with suppress(termios.error):
                    termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._original_modes or [])
            self._is_cbreak = False

        def _is_foreground(self) -> bool:
            """Return whether this program is the terminal's foreground job, or the terminal has no jobs at all."""
            try:
                return os.tcgetpgrp(self._descriptor) == os.getpgrp()
            except OSError:
                return True
