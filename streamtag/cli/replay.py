"""`streamtag replay`: plays a recording to subscribers, or as JSON lines, with its own timing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.runtime import Reporter, SignalGuard, run_command, shares_terminal, start_server
from streamtag.errors import SourceError
from streamtag.protocol.messages import Hello, Message
from streamtag.sinks.jsonl import write_line
from streamtag.sinks.recording import Recording
from streamtag.text import format_time, plural, printable

if TYPE_CHECKING:
    from streamtag.server.config import ServerConfig

POLL_INTERVAL_S = 0.1  # between two checks for a signal while nothing is due
REDRAWS = 4  # per second

EPILOG = f"""\b
Examples:
  streamtag listen --record evening.jsonl
  streamtag replay evening.jsonl --serve 8765

{EXIT_CODES}
"""


@as_command("replay", EPILOG)
@options.with_serve
def replay(
    path: Annotated[
        Path, typer.Argument(metavar="F.jsonl", help="A file of --record, or the lines of --json.", show_default=False)
    ],
    server: ServerConfig | None = None,
    json: options.JsonLines = False,
    speed: Annotated[
        float, typer.Option("--speed", metavar="X", min=0.01, max=1000, help="Times the original speed.")
    ] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end.")] = False,
) -> int:
    """Play a recording of messages to subscribers (--serve), or as JSON lines (--json), with its own timing."""
    if server is None and not json:
        raise typer.BadParameter("where to? add --serve [HOST:]PORT or --json")

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        label, served, outputs = printable(str(path)), None, list[Callable[[Message], None]]()
        with Recording(path) as recording:
            with ExitStack() as resources:
                resources.enter_context(guard)
                if server is not None:
                    served = start_server(server, recording.hello, reporter, resources)
                    outputs.append(served.publish)
                if json:
                    write_line(sys.stdout, recording.hello)
                    outputs.append(partial(write_line, sys.stdout))
                player = Player(recording, outputs, speed)

                def should_continue() -> bool:
                    if progress is not None:
                        figures = [format_time(player.position_s), plural(player.played, "message")]
                        figures += [f"pass {player.passes}"] if loop else []
                        figures += [plural(served.subscribers, "subscriber")] if served is not None else []
                        progress.update(task, completed=min(1.0, recording.fraction), figures="  ".join(figures))
                    return not guard.stop_requested

                progress, task = None, TaskID(0)
                if sys.stderr.isatty() and not shares_terminal(json):
                    progress = resources.enter_context(_progress_line())
                    task = progress.add_task(printable(path.name), total=1.0, figures="")
                try:
                    player.play(loop, should_continue)
                except SourceError as error:
                    raise SourceError(f"{label}: {error}") from None
            reporter.note(f"{label}: {_summary(player, recording, guard)}")

    return run_command(json, work)


class Player:
    """Publishes a recording's messages when they are due.

    played: messages so far. passes: begun so far. position_s: in the current pass.
    """

    def __init__(self, recording: Recording, outputs: list[Callable[[Message], None]], speed: float) -> None:
        self.played = self.passes = 0
        self.of_other_models = 0  # messages after the hello of another model
        self._recording = recording
        self._outputs = outputs
        self._speed = speed
        self._start_time = time.monotonic()

    @property
    def position_s(self) -> float:
        return (time.monotonic() - self._start_time) * self._speed

    def play(self, loop: bool, should_continue: Callable[[], bool]) -> None:
        """Play until the end (never with `loop`), or while should_continue(). Raises SourceError."""
        self._start_time = time.monotonic()
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
                time.sleep(min(early_s / self._speed, POLL_INTERVAL_S))
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


def _summary(player: Player, recording: Recording, guard: SignalGuard) -> str:
    parts = [f"{plural(player.played, 'message')} played"]
    if guard.stop_requested:
        parts[0] += " until it was interrupted"
    if recording.damaged:
        parts.append(f"{plural(recording.damaged, 'damaged line')} skipped")
    if player.of_other_models:
        parts.append(f"{plural(player.of_other_models, 'message')} of another model, with other tags than announced")
    return ", ".join(parts)


def _progress_line() -> Progress:
    """Return a line for the terminal that erases itself at the end."""
    return Progress(
        TextColumn("{task.fields[figures]}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        console=Console(stderr=True, highlight=False),
        refresh_per_second=REDRAWS,
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
