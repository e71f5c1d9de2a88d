"""`streamtag replay`: a recording to subscribers, or as JSON lines, with the timing that it had."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from streamtag.cli.reporter import Reporter
from streamtag.cli.running import run_command
from streamtag.cli.serving import serve
from streamtag.cli.signals import SignalGuard
from streamtag.errors import SourceError, SpecError
from streamtag.protocol.messages import Hello, Message
from streamtag.sinks.jsonl import write_line
from streamtag.sinks.recording import Recording
from streamtag.text import format_time, plural, printable

if TYPE_CHECKING:
    from streamtag.server.config import ServerConfig
    from streamtag.server.thread import ServerThread

WAIT_S = 0.1  # how often it looks for a signal while nothing is due
REDRAWS = 4  # a second


@dataclass(frozen=True)
class ReplayRequest:
    """What the user asked for. speed: times as fast as it was; loop: anew at the end, until a signal comes."""

    recording: Path
    serve: ServerConfig | None = None
    json: bool = False
    speed: float = 1.0
    loop: bool = False

    def __post_init__(self) -> None:
        if self.serve is None and not self.json:
            raise SpecError("replay: there is nobody to play to: serve it, or print JSON lines")
        if not 0 < self.speed < float("inf"):
            raise SpecError(f"replay: the speed must be above 0, not {self.speed:g}")


class Player:
    """Tells a recording's messages when they are due. position_s: of the pass under way; passes: begun so far."""

    def __init__(self, recording: Recording, tell: Callable[[Message], None], speed: float) -> None:
        self.told = self.passes = 0
        self.strangers = 0  # messages after the hello of another model
        self._recording = recording
        self._tell = tell
        self._speed = speed
        self._began = time.monotonic()

    @property
    def position_s(self) -> float:
        return (time.monotonic() - self._began) * self._speed

    def play(self, loop: bool, wanted: Callable[[], bool]) -> None:
        """Until the end (never with `loop`), or until it is not wanted any more. Raises SourceError."""
        self._began = time.monotonic()
        while True:
            before = self.told
            self.passes += 1
            length = self._pass(wanted)
            if not wanted():
                return
            if self.told == before:
                raise SourceError("there is nothing to play after its hello")
            if not loop:
                return
            self._began += (length + self._recording.hello.hop_s) / self._speed

    def _pass(self, wanted: Callable[[], bool]) -> float:
        """-> its length, s of the recording."""
        at, strange = 0.0, False
        for told in self._recording:
            at = told.at
            if not self._until(at, wanted):
                break
            if isinstance(told.message, Hello):  # of a recording behind the first: whoever listens was greeted
                strange = told.message.tags != self._recording.hello.tags
                continue
            self._tell(told.message)
            self.told += 1
            self.strangers += strange
        return at

    def _until(self, at: float, wanted: Callable[[], bool]) -> bool:
        """Waits for a time of the recording. -> whether it is still wanted then."""
        while (early := at - self.position_s) > 0 and wanted():
            time.sleep(min(early / self._speed, WAIT_S))
        return wanted()


def run(request: ReplayRequest) -> int:
    """Plays it. -> the exit code."""

    def work(reporter: Reporter, interruption: SignalGuard) -> None:
        with Recording(request.recording) as recording:
            player = _play(request, recording, reporter, interruption)
            reporter.note(f"{printable(str(request.recording))}: {_summary(player, recording, interruption)}")

    return run_command(request.json, work)


def _play(request: ReplayRequest, recording: Recording, reporter: Reporter, interruption: SignalGuard) -> Player:
    ways: list[Callable[[Message], None]] = []
    server: ServerThread | None = None
    with ExitStack() as resources:
        resources.enter_context(interruption)
        if request.serve is not None:
            server = serve(request.serve, recording.hello, reporter, resources)
            ways.append(server.publish)
        if request.json:
            write_line(sys.stdout, recording.hello)
            ways.append(partial(write_line, sys.stdout))
        player = Player(recording, partial(_to_all, ways), request.speed)
        # The view and the messages on one terminal would be drawn over each other.
        if sys.stderr.isatty() and not (request.json and sys.stdout.isatty()):
            resources.enter_context(_view(request, recording, player, server))
        try:
            player.play(request.loop, lambda: not interruption.wanted)
        except SourceError as error:
            raise SourceError(f"{printable(str(request.recording))}: {error}") from None
    return player


def _to_all(ways: Sequence[Callable[[Message], None]], message: Message) -> None:
    for tell in ways:
        tell(message)


def _summary(player: Player, recording: Recording, interruption: SignalGuard) -> str:
    parts = [f"{plural(player.told, 'message')} played"]
    if interruption.wanted:
        parts[0] += " until it was interrupted"
    if recording.damaged:
        parts.append(f"{plural(recording.damaged, 'damaged line')} skipped")
    if player.strangers:
        parts.append(f"{plural(player.strangers, 'message')} of another model, with other tags than it was announced")
    return ", ".join(parts)


class _Figures(ProgressColumn):
    """Told anew at every redraw, since a recording may have long pauses."""

    def __init__(self, figures: Callable[[], str]) -> None:
        super().__init__(Column(no_wrap=True))
        self._figures = figures

    def render(self, task: Task) -> Text:
        task.completed = task.fields["fraction"]()
        return Text(self._figures())


def _view(request: ReplayRequest, recording: Recording, player: Player, server: ServerThread | None) -> Progress:
    """A line on the terminal: how far it is. It wipes itself away."""

    def figures() -> str:
        parts = [format_time(player.position_s), plural(player.told, "message")]
        if request.loop:
            parts.append(f"pass {player.passes}")
        if server is not None:
            parts.append(plural(server.subscribers, "subscriber"))
        return "  ".join(parts)

    progress = Progress(
        _Figures(figures),
        BarColumn(bar_width=None),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        console=Console(stderr=True, highlight=False),
        refresh_per_second=REDRAWS,
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    progress.add_task(printable(request.recording.name), total=1.0, fraction=lambda: min(1.0, recording.fraction))
    return progress
