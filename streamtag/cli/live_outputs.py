"""What `streamtag listen` writes to."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console

from streamtag.audio.level_meter import Meter
from streamtag.audio.source import AudioSource
from streamtag.cli.runtime import Reporter
from streamtag.protocol.selection import Selection
from streamtag.sinks.background import BackgroundSink
from streamtag.sinks.base import Sink
from streamtag.sinks.jsonl import JsonLines
from streamtag.terminal.lines import PlainLines
from streamtag.terminal.live_panel import LivePanel, StatusInfo
from streamtag.terminal.stream_table import StreamsTable, TableSnapshot
from streamtag.terminal.stream_view import MeterSink
from streamtag.terminal.summary import SummaryTable, VerdictLines

KEYS = "q quit   r reset   space freeze"


@dataclass
class LiveOutputs:
    """The sinks in the order of writing. Notices go to the view, if there is one.

    panel: of the only stream; table: of several.
    """

    reporter: Reporter
    meter: Meter = field(default_factory=Meter)
    panel: LivePanel | None = None
    table: StreamsTable | None = None
    sinks: list[Sink] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sinks.append(MeterSink(self.meter))

    def open_view(self, audio: AudioSource, selection: Selection, status: list[Callable[[], str]], json: bool) -> None:
        """Draw the live view on a terminal that nothing else is written to; without one say where the sound is from."""
        if (console := self._view_console(json)) is None:
            self.reporter.note(f"listening to {audio.description}")
            return
        info = StatusInfo(lambda: audio.description, lambda: tuple(text() for text in status), KEYS)
        self.reporter.view = self.panel = LivePanel(console, selection, info, self.meter)
        self.sinks.append(self.panel)

    def open_table(
        self,
        names: Sequence[str],
        streams: Callable[[], TableSnapshot],
        selection: Selection,
        status: list[Callable[[], str]],
        json: bool,
    ) -> None:
        """Draw the table of several streams where `open_view` would draw that of one.

        names: of the streams. streams: returns what is shown, but for the status."""
        if (console := self._view_console(json)) is None:
            self.reporter.note(f"listening to {', '.join(names)}")
            return

        def snapshot() -> TableSnapshot:
            return replace(streams(), load="  ".join(text() for text in status))

        self.reporter.view = self.table = StreamsTable(console, snapshot, selection)
        self.sinks.append(self.table)

    def open_stdout(self, selection: Selection, json: bool, names: Sequence[str] = ()) -> BackgroundSink:
        """Return what prints on standard output, from a thread of its own: its reader may be a paused pager.

        names: of the streams, if there are several at a time."""
        if json:
            return BackgroundSink([JsonLines(sys.stdout, selection)])
        summary = VerdictLines(sys.stdout, selection, names) if names else SummaryTable(sys.stdout, selection)
        if (self.panel is not None or self.table is not None) and sys.stdout.isatty():
            return BackgroundSink([summary])
        return BackgroundSink([PlainLines(sys.stdout, selection, named=bool(names)), summary])

    def _view_console(self, json: bool) -> Console | None:
        """Return the terminal for a view, if there is one that nothing else is written to."""
        return None if _stdout_is_a_pipe() else self.reporter.view_console(json)


def _stdout_is_a_pipe() -> bool:
    """Return True if the program at the other end may write over the view; also if that is unknown."""
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return True
