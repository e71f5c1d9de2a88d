"""The work of `streamtag replay`: publishes recorded messages when they are due."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from streamtag.errors import SourceError
from streamtag.protocol.messages import Hello, Message
from streamtag.sinks.recording import Recording
from streamtag.text import plural

POLL_INTERVAL_S = 0.1  # between two checks for a signal while nothing is due
REDRAWS = 4  # per second


class Player:
    """Publishes a recording's messages when they are due.

    played: messages so far. passes: begun so far. position_s: in the current pass.
    """

    def __init__(
        self,
        recording: Recording,
        outputs: list[Callable[[Message], None]],
        speed: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """speed: in times real time. clock, sleep: in seconds."""
        self.played = self.passes = 0
        self.of_other_models = 0  # messages after the hello of another model
        self._recording = recording
        self._outputs = outputs
        self._speed, self._clock, self._sleep = speed, clock, sleep
        self._start_time = clock()

    @property
    def position_s(self) -> float:
        return (self._clock() - self._start_time) * self._speed

    def play(self, loop: bool, should_continue: Callable[[], bool]) -> None:
        """Play until the end (never with `loop`), or while should_continue(). Raises SourceError."""
        self._start_time = self._clock()
        while True:
            before = self.played
            self.passes += 1
            length_s = self._play_once(should_continue)
            if not should_continue():
                return
            if self.played == before:
                raise SourceError("there is nothing to play after its hello")
            if not loop:
                return
            self._start_time += (length_s + self._recording.hello.hop_s) / self._speed

    def _play_once(self, should_continue: Callable[[], bool]) -> float:
        """Return the length of the recording, s."""
        at, is_other = 0.0, False
        for timed in self._recording:
            at = timed.at
            while (early_s := at - self.position_s) > 0 and should_continue():
                self._sleep(min(early_s / self._speed, POLL_INTERVAL_S))
            if not should_continue():
                break
            if isinstance(timed.message, Hello):  # of another recording appended to it: subscribers have had theirs
                is_other = timed.message.tags != self._recording.hello.tags
                continue
            for publish in self._outputs:
                publish(timed.message)
            self.played += 1
            self.of_other_models += is_other
        return at


def summary(player: Player, recording: Recording, was_interrupted: bool) -> str:
    """Describe in one line what was played, and what was not."""
    parts = [f"{plural(player.played, 'message')} played"]
    if was_interrupted:
        parts[0] += " until it was interrupted"
    if recording.damaged:
        parts.append(f"{plural(recording.damaged, 'damaged line')} skipped")
    if player.of_other_models:
        parts.append(f"{plural(player.of_other_models, 'message')} of another model, with other tags than announced")
    return ", ".join(parts)


def progress_line(console: Console) -> Progress:
    """Return a line for the terminal that erases itself at the end."""
    return Progress(
        TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        console=console,
        refresh_per_second=REDRAWS,
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
