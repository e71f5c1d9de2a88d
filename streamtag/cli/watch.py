"""`streamtag watch`: shows the messages of a streamtag server on the terminal, as lines or as JSON."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streamtag.audio.source import SourceNotice
from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.runtime import Reporter, SignalGuard, run_command
from streamtag.client.address import ServerAddress
from streamtag.client.subscriber import SubscriberClient
from streamtag.protocol.messages import Error, Frame, Gap, Hello, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink
from streamtag.sinks.jsonl import JsonLines
from streamtag.terminal.lines import NamedLines, PlainLines
from streamtag.terminal.live_panel import WatchPanel
from streamtag.terminal.widgets import can_draw
from streamtag.text import format_time, plural

POLL_INTERVAL_S = 0.05  # how long the loop waits for a message before it looks at keys and signals

EPILOG = f"""\b
Examples:
  streamtag watch ws://127.0.0.1:8765/
  streamtag watch ws://127.0.0.1:8765/streams/mic --json --top 3

{EXIT_CODES}
"""


@as_command("watch", EPILOG)
def watch(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="ws://HOST:PORT/ or ws://HOST:PORT/streams/NAME, or wss://; PORT alone means this machine.",
        ),
    ],
    json: options.JsonLines = False,
    top: options.TopLive = None,
    tags: options.Tags = None,
    token: options.Token = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="F.pem", help="Trust this certificate (for wss:// addresses).")
    ] = None,
    seconds: options.Duration = None,
) -> int:
    """Subscribe to a streamtag server and show its tags; reconnects whenever the connection breaks."""

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        address, totals, start = ServerAddress.parse(url), Totals(), time.monotonic()
        deadline = start + (seconds or float("inf"))
        known_tags: tuple[str, ...] | None = None
        view = View(reporter)
        with guard, SubscriberClient(address, token, ca) as client, ExitStack() as opened:
            while not guard.stop_requested and time.monotonic() < deadline and view.is_wanted():
                message = client.read(POLL_INTERVAL_S)
                if isinstance(message, Hello) and message.tags != known_tags:
                    known_tags = message.tags
                    opened.close()
                    selection = Selection.of(message.tags, message.thresholds, names=options.tag_names(tags), top=top)
                    view = View(reporter, *_open_output(json, selection, address, message, opened))
                if isinstance(message, SourceNotice):
                    view.notify(message)
                elif message is not None:
                    totals.add(message)
                    view.write(message)
        reporter.note(f"{address.label}: watched for {format_time(time.monotonic() - start)}: {totals}")

    return run_command(json, work)


@dataclass(frozen=True)
class View:
    """Where messages and notices go: to the sink, which may be a panel that is drawn on the terminal."""

    reporter: Reporter
    sink: Sink | None = None
    panel: WatchPanel | None = None

    def is_wanted(self) -> bool:
        """Return False once the user has pressed q; call it often."""
        return self.panel is None or not self.panel.stop_requested()

    def write(self, message: Message) -> None:
        if self.sink is not None:
            self.sink.write(message)

    def notify(self, notice: SourceNotice) -> None:
        if self.panel is not None:
            self.panel.notify(notice)
            return
        self.reporter.note(notice.text)
        if notice.is_problem and isinstance(self.sink, JsonLines):  # its readers do not see standard error
            self.sink.write(Error(notice.text))


def _open_output(
    json: bool, selection: Selection, address: ServerAddress, greeting: Hello, opened: ExitStack
) -> tuple[Sink, WatchPanel | None]:
    if json:
        return JsonLines(sys.stdout, selection), None
    console = Console(stderr=True, highlight=False)
    if sys.stdout.isatty() and can_draw(console):
        panel = opened.enter_context(WatchPanel(console, selection, greeting, address.label))
        return panel, panel
    lines = PlainLines if address.is_single_stream else NamedLines
    return lines(sys.stdout, selection), None


@dataclass
class Totals:
    """What has come so far."""

    frames: int = 0
    dropped: int = 0
    gaps: int = 0
    lost_s: float = 0.0

    def add(self, message: Message) -> None:
        if isinstance(message, Frame):
            self.frames += 1
            self.dropped += message.dropped
        elif isinstance(message, Gap):
            self.gaps += 1
            self.lost_s += message.lost_s

    def __str__(self) -> str:
        gaps = f", {self.lost_s:.1f} s lost in {plural(self.gaps, 'gap')}" if self.gaps else ""
        dropped = f", {self.dropped} dropped on the way" if self.dropped else ""
        return f"{plural(self.frames, 'frame')}{gaps}{dropped}"
