"""Reconnection for live sources whose input may vanish."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import Generic

from streamtag.audio.source import AudioSource, CaptureEvent, SourceNotice
from streamtag.audio.threaded import FIRST_DELAY_S, BackoffRetry, T, Wait, next_delay


class ReconnectingSource(AudioSource, Generic[T]):
    """Base of a source that reads from a connection (T) and, when that is lost, looks for another one.

    The loss is reported once, and so is the recovery, however many attempts lie between them.
    """

    def __init__(
        self,
        name: str,
        description: str,
        connection: T,
        first_delay_s: float = FIRST_DELAY_S,
        wait: Wait = threading.Event.wait,
    ) -> None:
        """first_delay_s, wait: before it connects again, as BackoffRetry has them."""
        super().__init__(name, description)
        self._connection: T | None = connection
        self._retry: BackoffRetry[T] | None = None
        self._is_lost = False  # the loss was reported, and no audio has come since
        self._newest: float | None = None  # when the newest audio arrived, on the clock of its blocks
        self._first_delay_s = self._delay_s = first_delay_s
        self._wait = wait
        self._outages = 0

    @property
    def xruns(self) -> int:
        return self._outages

    def close(self) -> None:
        self._has_ended = True
        if self._retry is not None:
            self._retry.close()
        if self._connection is not None:
            self._connection.close()

    @abstractmethod
    def _connect(self) -> T:
        """Return a new connection. Runs in a thread of its own, and may take its time. Raises SourceError."""

    def _connected(self, connection: T) -> None:
        """Called with each new connection, by the thread that reads."""

    @abstractmethod
    def _receive(self, connection: T, timeout_s: float) -> list[CaptureEvent]:
        """Return the events of a connection, as `_poll` does."""

    def _poll(self, timeout_s: float) -> list[CaptureEvent]:
        if self._connection is None and self._retry is not None:
            self._connection = self._retry.result(timeout_s)
            if self._connection is None:
                return []
            self._delay_s = next_delay(self._retry.delay_s)  # until it proves itself, it counts as a failed attempt
            self._retry = None
            self._connected(self._connection)
        return [] if self._connection is None else self._receive(self._connection, timeout_s)

    def _reconnect(self, notice: str) -> list[CaptureEvent]:
        """The connection is lost: look for another one. Return the notice, unless it was given before."""
        self._connection = None
        self._retry = BackoffRetry(self._connect, self._delay_s, wait=self._wait)
        if self._is_lost:
            return []
        self._is_lost = True
        self._outages += 1
        return [SourceNotice(notice)]

    def _recover(self, notice: str) -> SourceNotice:
        """Audio has come again."""
        self._is_lost = False
        return SourceNotice(notice, is_problem=False)

    def _reset_delay(self) -> None:
        """The connection has proved itself."""
        self._delay_s = self._first_delay_s
