"""The live view: how far a stream has been heard, and its strongest tags as bars."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Frame, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.bars import QUIET, WIDEST, Smoother, bar, strokes_for
from streamtag.text import format_time

REDRAWS = 8  # a second
BARS = 10  # where the user sets no --top
MARGIN = 5  # characters; a terminal writes ^C behind the last line, which must not wrap then


@dataclass(frozen=True)
class Progress:
    """Where a stream is. position_s of audio after elapsed_s of work; duration_s: None if unknown."""

    position_s: float
    elapsed_s: float
    duration_s: float | None

    @property
    def fraction(self) -> float | None:
        if not self.duration_s:
            return None
        return min(1.0, self.position_s / self.duration_s)

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.position_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Of work, at the speed so far."""
        if self.duration_s is None or self.speed <= 0:
            return None
        return max(0.0, self.duration_s - self.position_s) / self.speed

    def figures(self) -> str:
        total = "" if self.duration_s is None else f" / {format_time(max(self.duration_s, self.position_s))}"
        text = f"{format_time(self.position_s)}{total}"
        if self.position_s > 0:
            text += f"  {self.speed:.{0 if self.speed >= 10 else 1}f} x real time"
        if self.remaining_s is not None and self.position_s > 0:
            text += f"  {format_time(math.ceil(self.remaining_s))} left"
        return text


class FileProgressView:
    """A sink that draws on a terminal while a stream is processed, at its own rate, and erases itself at the end."""

    def __init__(self, console: Console, selection: Selection, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._selection = selection
        self._clock = clock
        self._strokes = strokes_for(console.encoding)
        self._live: Live | None = None
        self._stream = StreamInfo("")
        self._smoothed = Smoother(len(selection.tags))
        self._began = self._looked = 0.0
        self._position = 0.0

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._stream = stream
        self._smoothed = Smoother(len(self._selection.tags))
        self._began = self._looked = self._clock()
        self._position = 0.0
        # Results go to standard output by other ways: nothing may be caught and drawn here.
        self._live = Live(
            console=self._console,
            refresh_per_second=REDRAWS,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self.render,
        )
        self._live.start()

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self._smoothed.add(self._selection.probs(message))
            self._position = message.end
        elif isinstance(message, End):
            self.close()

    def close(self) -> None:
        """Wipes the view away, if there is one."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def render(self) -> RenderableType:
        """The view as it is now."""
        now = self._clock()
        self._smoothed.look(now - self._looked)
        self._looked = now
        width = min(WIDEST, self._console.width - MARGIN)
        duration = self._stream.duration_s
        position = self._position if duration is None else min(self._position, duration)
        progress = Progress(position, now - self._began, duration)
        return Group(self._title(width), self._progress_line(progress, width), Text(), self._bars(width))

    def _title(self, width: int) -> Table:
        line = Table.grid(expand=False)
        place = f"{self._stream.number + 1} of {self._stream.count}" if self._stream.count > 1 else ""
        line.add_column(width=width - len(place) - 1, no_wrap=True, overflow="ellipsis")
        line.add_column(width=len(place) + 1, justify="right")
        line.add_row(Text(self._stream.name, "bold"), Text(place, QUIET))
        return line

    def _progress_line(self, progress: Progress, width: int) -> Text:
        figures = progress.figures()
        if progress.fraction is None:
            return Text(figures, no_wrap=True)
        room = max(8, width - len(figures) - 2)
        done = round(progress.fraction * room)
        line = ((self._strokes.done * done, "magenta"), (self._strokes.rest * (room - done), QUIET), f"  {figures}")
        return Text.assemble(*line, no_wrap=True)

    def _bars(self, width: int) -> Table:
        names = self._selection.names
        name_width = max(len(name) for name in names)
        bar_width = max(8, width - name_width - 8)
        table = Table.grid(padding=(0, 2, 0, 0))
        for column in (name_width, bar_width, 4):
            table.add_column(width=column, no_wrap=True)
        # A taller view than the terminal could not be wiped away.
        rows = max(1, min(self._selection.top or BARS, self._console.height - 5))
        for index in self._selection.strongest(self._smoothed.order)[:rows]:
            value, threshold = float(self._smoothed.bars[index]), self._selection.thresholds[index]
            style = "bold" if value >= threshold else QUIET
            name = Text(self._selection.tags[index], style)
            table.add_row(name, bar(value, threshold, bar_width, self._strokes), Text(f"{value:.2f}", style))
        return table
