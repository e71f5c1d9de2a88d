"""What `streamtag listen` writes to, and where it shows notices."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console

from streamtag.audio.level_meter import Meter
from streamtag.audio.source import AudioSource, SourceNotice
from streamtag.cli.runtime import Reporter
from streamtag.protocol.selection import Selection
from streamtag.sinks.background import BackgroundSink
from streamtag.sinks.base import Sink
from streamtag.sinks.jsonl import JsonLines
from streamtag.terminal.lines import PlainLines
from streamtag.terminal.live_panel import LivePanel, StatusInfo
from streamtag.terminal.stream_view import MeterSink
from streamtag.terminal.summary import SummaryTable
from streamtag.terminal.widgets import can_draw

KEYS = "q quit   r reset   space freeze"


@dataclass
class Outputs:
    """The sinks in the order of writing, and where notices go: to the view if there is one."""

    reporter: Reporter
    meter: Meter = field(default_factory=Meter)
    panel: LivePanel | None = None
    sinks: list[Sink] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sinks.append(MeterSink(self.meter))

    def open_view(self, audio: AudioSource, selection: Selection, status: list[Callable[[], str]], json: bool) -> None:
        """Draw the live view on a terminal that nothing else is written to; without one say where the sound is from."""
        console = Console(stderr=True, highlight=False)
        if not can_draw(console) or not self.reporter.may_draw(json) or _stdout_is_a_pipe():
            self.reporter.note(f"listening to {audio.description}")
            return
        info = StatusInfo(lambda: audio.description, lambda: tuple(text() for text in status), KEYS)
        self.panel = LivePanel(console, selection, info, self.meter)
        self.sinks.append(self.panel)

    def open_stdout(self, selection: Selection, json: bool) -> BackgroundSink:
        """Return what prints on standard output, from a thread of its own: its reader may be a paused pager."""
        if json:
            return BackgroundSink([JsonLines(sys.stdout, selection)])
        summary = SummaryTable(sys.stdout, selection)
        if self.panel is not None and sys.stdout.isatty():
            return BackgroundSink([summary])
        return BackgroundSink([PlainLines(sys.stdout, selection), summary])

    def notify(self, notice: SourceNotice) -> None:
        if self.panel is None:
            self.reporter.note(notice.text)
        else:
            self.panel.notify(notice)

    def report(self, text: str) -> None:
        """Show a problem of an output, on the view while it is drawn."""
        if self.panel is not None and self.panel.is_shown:
            self.panel.notify(SourceNotice(text))
        else:
            self.reporter.note(text)


def _stdout_is_a_pipe() -> bool:
    """Return True if the program at the other end may write over the view; also if that is unknown."""
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return True
