"""The progress of a file: its position, the remaining time, and the strongest concepts as bars."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Progress:
    """The state of a stream: position_s of audio after elapsed_s of work. duration_s: None if unknown."""

    position_s: float
    elapsed_s: float
    duration_s: float | None

    @property
    def fraction(self) -> float | None:
        """Share that is done, or None."""
        return min(1.0, self.position_s / self.duration_s) if self.duration_s else None

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.position_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Time that the rest takes at the speed so far, or None."""
        if self.duration_s is None or self.speed <= 0:
            return None
        return max(0.0, self.duration_s - self.position_s) / self.speed

    def __str__(self) -> str:
        text = format_time(self.position_s)
        if self.duration_s is not None:
            text += f" / {format_length(max(self.duration_s, self.position_s))}"
        if self.position_s > 0:
            text += f"  {self.speed:.{0 if self.speed >= 10 else 1}f} x real time"
            if self.remaining_s is not None:
                text += f"  {format_time(math.ceil(self.remaining_s))} left"
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
        progress = Progress(position, now - self._started_at, duration)
        room = max(1, self._console.height - OTHER_LINES)
        bars = bar_lines(self._view.values, self._selection, self._glyphs, width, room)
        return Group(self._title(width), self._progress_line(progress, width), Text(), *bars)

    def _title(self, width: int) -> Table:
        line = Table.grid(expand=False)
        place = f"{self._stream.number + 1} of {self._stream.count}" if self._stream.count > 1 else ""
        line.add_column(width=width - len(place) - 1, no_wrap=True, overflow="ellipsis")
        line.add_column(width=len(place) + 1, justify="right")
        line.add_row(Text(self._stream.name, "bold"), Text(place, DIM_STYLE))
        return line

    def _progress_line(self, progress: Progress, width: int) -> Text:
        if progress.fraction is None:
            return Text(str(progress), no_wrap=True)
        room = max(8, width - len(str(progress)) - 2)
        done = round(progress.fraction * room)
        parts = [(self._glyphs.done * done, "magenta"), (self._glyphs.remaining * (room - done), DIM_STYLE)]
        return Text.assemble(*parts, f"  {progress}", no_wrap=True)
