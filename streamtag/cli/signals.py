"""Ctrl-C and SIGTERM as a wish to end."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO_S = 0.3  # s; `timeout` sends its signal twice, to the program and to its group: that is one wish


class SignalGuard:
    """While entered, the first signal is only noted, so that no result is cut in the middle of a write.

    The work looks at `wanted` between its steps. A second signal raises KeyboardInterrupt at once, but for one that
    comes within ECHO_S of the first.
    Signals that are ignored (as in a shell's background jobs) stay so.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._noted = 0.0  # when, by the clock
        self._before: dict[int, Any] = {}

    @property
    def wanted(self) -> bool:
        return self._number is not None

    @property
    def exit_code(self) -> int:
        """As shells count: 130 for Ctrl-C, 143 for SIGTERM; 0 without a signal."""
        return 0 if self._number is None else 128 + self._number

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._number is None:
            self._number, self._noted = number, time.monotonic()
        elif time.monotonic() > self._noted + ECHO_S:
            raise KeyboardInterrupt
