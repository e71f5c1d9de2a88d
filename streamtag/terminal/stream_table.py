"""The table of many streams on a terminal: their lengths, lags and states, and the concepts that are present."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamtag.audio.source import SourceNotice
from streamtag.protocol.messages import End, Event, Frame, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.stream_view import PresentNow
from streamtag.terminal.widgets import LiveView
from streamtag.text import format_time

REDRAW_INTERVAL_S = 0.5
OTHER_LINES = 5  # lines of the terminal that are not for streams
MAX_TAGS = 4  # of a stream, without --top


@dataclass(frozen=True)
class StreamRow:
    """What the table shows of a stream. lag_s: None while nothing comes. style: of the state."""

    name: str
    seconds: float
    lag_s: float | None
    state: str = ""
    style: str = "dim"


@dataclass(frozen=True)
class TableSnapshot:
    """What is shown when the table is drawn. title, load, warning: above the rows."""

    title: str
    load: str
    rows: Sequence[StreamRow]
    warning: str = ""


class StreamsTable(LiveView):
    """A sink that keeps a table of streams below the lines of notices. Used by one thread.

    `draw` is called often, and draws at most twice a second while the table is entered.
    """

    def __init__(
        self,
        console: Console,
        snapshot: Callable[[], TableSnapshot],
        selection: Selection,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(console, None)
        self._snapshot = snapshot
        self._selection = selection
        self._clock = clock
        self._newest: dict[str, _Newest] = {}
        self._drawn_at = float("-inf")

    def notify(self, notice: SourceNotice) -> None:
        """Print a line above the table."""
        self._console.print(Text(f"streamtag: {notice.text}"), soft_wrap=True)

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            newest = self._newest.setdefault(message.stream, _Newest(self._selection))
            newest.probs = self._selection.probs(message)
            newest.present.add_frame(message, newest.probs)
        elif isinstance(message, Event) and message.stream in self._newest:
            self._newest[message.stream].present.add_event(message)
        elif isinstance(message, End):
            self._newest.pop(message.stream, None)

    def draw(self) -> None:
        """Redraw the table if it is time."""
        now = self._clock()
        if now - self._drawn_at >= REDRAW_INTERVAL_S:
            self._drawn_at = now
            self.redraw()

    def render(self) -> RenderableType:
        snapshot = self._snapshot()
        shown = snapshot.rows[: max(1, self._console.height - OTHER_LINES)]
        table = Table(box=None, pad_edge=False, expand=True, show_header=bool(shown), header_style="dim")
        table.add_column("stream", max_width=min(28, self._console.width // 4), no_wrap=True, overflow="ellipsis")
        table.add_column("heard", justify="right", no_wrap=True)
        table.add_column("lag", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column(f"{self._selection.kind}s present", no_wrap=True, overflow="ellipsis", ratio=1)
        for row in shown:
            state, lag, present = Text(row.state, style=row.style), "", Text("")
            if row.lag_s is not None:
                lag, present = f"{1000 * row.lag_s:.0f} ms", self._present(row.name)
            table.add_row(Text(row.name), format_time(row.seconds), lag, state, present)
        more = len(snapshot.rows) - len(shown)
        below = [Text(f"and {more} more", style="dim")] if more else []
        title = Text.assemble((snapshot.title, "bold"), f"  {snapshot.load}" if snapshot.load else "")
        title.append(f"  {snapshot.warning}" if snapshot.warning else "", style="bold red")
        return Group(title, *([table] if shown else []), *below)

    def _present(self, name: str) -> Text:
        """Return what is present now, strongest first."""
        newest = self._newest.get(name)
        if newest is None:
            return Text("")
        present = [n for n in self._selection.chosen if newest.present.on[n]]
        shown = sorted(present, key=lambda n: -newest.probs[n])[: self._selection.top or MAX_TAGS]
        return Text("  ".join(f"{self._selection.labels[n]} {newest.probs[n]:.2f}" for n in shown))


class _Newest:
    """The newest of a stream: its probabilities [P + K], and what is present."""

    def __init__(self, selection: Selection) -> None:
        self.probs = np.zeros(len(selection.labels))
        self.present = PresentNow(selection)
