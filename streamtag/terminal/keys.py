"""Single keys from the terminal, as they are pressed."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections import deque
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Protocol, Self, TextIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import termios
    import tty

PENDING = 64  # keys that wait at most: a pasted book is no command
SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)  # arrows, function keys, Alt with a key


def stripped(text: str) -> str:
    """What was typed, without the sequences of keys that are no characters."""
    return SEQUENCE.sub("", text)


def gives_keys(file: TextIO | None) -> bool:
    """Whether keys can be read there: a terminal that is not only open for writing."""
    if file is None or file.closed or not file.isatty():
        return False
    if sys.platform == "win32":
        return file is sys.stdin
    return fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


class Suspendable(Protocol):
    """What is drawn on the terminal, and has to make room while the program is stopped (Ctrl-Z)."""

    def hide(self) -> None: ...

    def show(self) -> None: ...


class Keys:
    """While entered, keys come one by one, unechoed, if there is a terminal to read them from; else never any.

    The terminal is put back as it was when this is left, and while the program is stopped or in the background.
    Owned by the main thread, which has to ask often: Ctrl-Z too is only seen in `pressed`.
    """

    def __init__(self, curtain: Suspendable | None = None, file: TextIO | None = None) -> None:
        """file: None for standard input or, if sound comes from there, the terminal that standard error goes to."""
        self._curtain = curtain
        self._files = (sys.stdin, sys.stderr) if file is None else (file,)
        self._pending: deque[str] = deque(maxlen=PENDING)
        self._place: _Terminal | None = None

    @property
    def there(self) -> bool:
        """Whether there is a terminal that keys can come from."""
        return self._place is not None

    def __enter__(self) -> Self:
        place = next(filter(gives_keys, self._files), None)
        if place is not None:
            self._place = _Terminal(place.fileno())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.close()

    def pressed(self) -> str | None:
        """The next key, such as "q" or " ", without waiting; None if none was pressed."""
        if self._place is None:
            return None
        self._place.handle_job_control(self._curtain)
        self._pending.extend(stripped(self._place.read()))
        return self._pending.popleft() if self._pending else None


if sys.platform == "win32":

    class _Terminal:
        """A console of Windows: keys come singly by themselves."""

        def __init__(self, number: int) -> None:
            pass

        def handle_job_control(self, curtain: Suspendable | None) -> None:
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
        """A POSIX terminal in cbreak mode while this program is its foreground job; Ctrl-C still is a signal."""

        def __init__(self, number: int) -> None:
            self._number = number
            self._before: list[Any] | None = None  # the modes in which it was found
            self._taken = self._stop_wanted = self._hidden = False
            self._handlers = {
                wanted: signal.signal(wanted, handler)
                for wanted, handler in ((signal.SIGTSTP, self._note_stop), (signal.SIGCONT, self._note_return))
                if signal.getsignal(wanted) is not signal.SIG_IGN
            }
            self._take()

        def _note_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
            self._stop_wanted = True

        def _note_return(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
            self._taken = False  # the shell has set its own modes meanwhile

        def handle_job_control(self, curtain: Suspendable | None) -> None:
            """Stops the program if Ctrl-Z was pressed, and takes the terminal again when it is back."""
            if self._stop_wanted:
                self._stop_wanted = False
                self._give_back()
                self._cover(curtain)
                os.kill(os.getpid(), signal.SIGSTOP)
            if not self._taken:
                self._take()
            if not self._taken:
                self._cover(curtain)  # in the background: the screen is another's
            elif self._hidden:
                self._hidden = False
                if curtain is not None:
                    curtain.show()

        def _cover(self, curtain: Suspendable | None) -> None:
            if not self._hidden and curtain is not None:
                curtain.hide()
            self._hidden = True

        def read(self) -> str:
            if not self._ours():
                self._taken = False
                return ""  # a read from the background would stop the program
            try:
                ready, _, _ = select.select([self._number], [], [], 0)
                return os.read(self._number, 1024).decode("utf-8", "replace") if ready else ""
            except OSError:  # the terminal has gone
                return ""

        def close(self) -> None:
            self._give_back()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

        def _take(self) -> None:
            if self._ours():
                with suppress(termios.error):
                    self._before = self._before or termios.tcgetattr(self._number)
                    tty.setcbreak(self._number, termios.TCSADRAIN)
                    self._taken = True

        def _give_back(self) -> None:
            if self._taken and self._ours():  # else the shell has done it, and asking would stop the program
                with suppress(termios.error):
                    termios.tcsetattr(self._number, termios.TCSADRAIN, self._before or [])
            self._taken = False

        def _ours(self) -> bool:
            """Whether this program is the terminal's foreground job, or the terminal has no jobs at all."""
            try:
                return os.tcgetpgrp(self._number) == os.getpgrp()
            except OSError:
                return True
