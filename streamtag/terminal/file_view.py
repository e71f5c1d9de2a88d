"""The progress of a file: its position, the remaining time, and the strongest concepts as bars."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Event, Frame, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.bars import bar_lines
from streamtag.terminal.stream_view import StreamView
from streamtag.terminal.widgets import DIM_STYLE, LiveView, glyphs_for
from streamtag.text import format_length, format_time

REDRAWS_PER_S = 8
HOLD_S = 0.2  # shorter than in the live view: here minutes of sound pass in a second
OTHER_LINES = 5  # of the terminal: a view that is taller than the terminal could not be erased
MARGIN = 5  # characters; a terminal writes ^C behind the last line, which must not wrap then


def format_progress(position_s: float, elapsed_s: float, duration_s: float | None) -> str:
    """Return the position of a stream, its speed, and how long the rest takes at that speed.

    elapsed_s: of work so far. duration_s: None if unknown.
    """
    text = format_time(position_s)
    if duration_s is not None:
        text += f" / {format_length(max(duration_s, position_s))}"
    if position_s > 0 and elapsed_s > 0:
        speed = position_s / elapsed_s
        text += f"  {speed:.{0 if speed >= 10 else 1}f} x real time"
        if duration_s is not None:
            text += f"  {format_time(math.ceil(max(0.0, duration_s - position_s) / speed))} left"
    return text


class FileProgressView(LiveView):
    """A sink that draws on a terminal while a stream is processed, and erases itself at the end."""

    def __init__(self, console: Console, selection: Selection, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, REDRAWS_PER_S)
        self._selection = selection
        self._clock = clock
        self._glyphs = glyphs_for(console.encoding)
        self._stream = StreamInfo("")
        self._view = StreamView(selection, HOLD_S)
        self._started_at = self._drawn_at = 0.0
        self._position = 0.0

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        self._stream = stream
        self._view = StreamView(self._selection, HOLD_S)
        self._started_at = self._drawn_at = self._clock()
        self._position = stream.start_s
        self.show()

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self._view.add(message, self._clock())
            self._position = message.end
        elif isinstance(message, Event):
            self._view.add_event(message)
        elif isinstance(message, End):
            self.hide()

    def render(self) -> RenderableType:
        now = self._clock()
        self._view.advance(now - self._drawn_at)
        self._drawn_at = now
        width = self._console.width - MARGIN
        duration = self._stream.duration_s
        position = max(0.0, self._position - self._stream.start_s)
        position = position if duration is None else min(position, duration)
        room = max(1, self._console.height - OTHER_LINES)
        bars = bar_lines(self._view.values, self._selection, self._glyphs, width, room)
        return Group(self._title(width), self._progress_line(position, now - self._started_at, width), Text(), *bars)

    def _title(self, width: int) -> Table:
        line = Table.grid(expand=False)
        place = f"{self._stream.number + 1} of {self._stream.count}" if self._stream.count > 1 else ""
        line.add_column(width=width - len(place) - 1, no_wrap=True, overflow="ellipsis")
        line.add_column(width=len(place) + 1, justify="right")
        line.add_row(Text(self._stream.name, "bold"), Text(place, DIM_STYLE))
        return line

    def _progress_line(self, position_s: float, elapsed_s: float, width: int) -> Text:
        duration_s = self._stream.duration_s
        progress = format_progress(position_s, elapsed_s, duration_s)
        if not duration_s:
            return Text(progress, no_wrap=True)
        room = max(8, width - len(progress) - 2)
        done = round(min(1.0, position_s / duration_s) * room)
        parts = [(self._glyphs.done * done, "magenta"), (self._glyphs.remaining * (room - done), DIM_STYLE)]
        return Text.assemble(*parts, f"  {progress}", no_wrap=True)
