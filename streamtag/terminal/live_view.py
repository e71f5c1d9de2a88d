"""How a live stream looks on a terminal of any size: drawn without state, from one view model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from streamtag.audio.level_meter import Level, Reading
from streamtag.protocol.selection import Selection
from streamtag.terminal.bars import BarValues, bar_lines, cut
from streamtag.terminal.widgets import DIM_STYLE, Glyphs
from streamtag.text import format_time, plural

ROOMY_HEIGHT = 18  # lines, from which on some are left blank
MIN_LEVEL_DB = -60.0  # where the level's scale begins
LOUD_DB, HOT_DB = -12.0, -3.0  # where its colour changes
PROBLEM_STYLE = "bold yellow"


@dataclass(frozen=True)
class ViewModel:
    """Everything that is shown. values: of the bars.

    source: where the audio comes from. facts: short texts, the most important first. notice: None if there is none.
    """

    stream: str
    source: str
    reading: Reading
    values: BarValues
    facts: tuple[str, ...]
    keys: str
    notice: str | None = None
    is_problem: bool = False
    is_frozen: bool = False
    is_waiting: bool = False


def draw(view: ViewModel, selection: Selection, glyphs: Glyphs, width: int, height: int) -> Iterator[Text]:
    """Yield at most `height` lines of at most `width` cells. Where there is no room, the least important go first."""
    head = [_title(view, width)]
    if view.reading.level is not None and height >= 4:
        head.append(_level(view.reading.level, width, glyphs))
    foot: list[Text] = []
    if height >= 6:
        foot += _flow(_figures(view.reading), width, 2 if height >= 9 else 1)
    if height >= 12:
        foot += _flow(view.facts, width, 2)
    if view.notice is not None and height >= 5:
        foot.append(Text(cut(view.notice, width), PROBLEM_STYLE if view.is_problem else DIM_STYLE))
    if view.keys and height >= 8:
        foot.append(Text(cut(view.keys, width), DIM_STYLE))
    blank = [Text()] if height >= ROOMY_HEIGHT else []
    room = height - len(head) - len(foot) - 2 * len(blank)
    yield from head
    yield from blank
    yield from bar_lines(view.values, selection, glyphs, width, max(0, room))
    yield from blank
    yield from foot


def _title(view: ViewModel, width: int) -> Text:
    """Return the stream, its source, its state and its length."""
    state = "frozen" if view.is_frozen else "waiting" if view.is_waiting else ""
    clock = format_time(view.reading.elapsed_s)
    right = Text.assemble((f" {state} ", "reverse yellow") if state else "", "  " if state else "", (clock, "bold"))
    room = max(0, width - right.cell_len - 2)
    name = cut(view.stream, room)
    source = cut(view.source, room - cell_len(name) - 2) if view.source else ""
    left = Text.assemble((name, "bold"), "  " if source else "", (source, DIM_STYLE))
    left.pad_right(max(0, width - left.cell_len - right.cell_len))
    left.append_text(right)
    left.truncate(width)
    return left


def _level(level: Level, width: int, glyphs: Glyphs) -> Text:
    """Return the level on a scale of decibels, with its peak as a mark."""
    figures = f" {level.rms_db:4.0f} dBFS" if level.rms_db > -100 else "    - dBFS"
    clip = " CLIP"
    room = max(4, width - len("level ") - len(figures) - len(clip))
    limits = [_scale_position(decibels, room) for decibels in (LOUD_DB, HOT_DB)]
    filled, peak = _scale_position(level.rms_db, room), _scale_position(level.peak_db, room)
    line = Text("level ", DIM_STYLE)
    for cell in range(room):
        colour = "green" if cell < limits[0] else "yellow" if cell < limits[1] else "red"
        if cell < filled:
            line.append(glyphs.fill[-1], colour)
        elif cell == peak and level.peak_db > MIN_LEVEL_DB:
            line.append(glyphs.mark, colour)
        else:
            line.append(glyphs.dot if cell in limits else " ", DIM_STYLE)
    line.append(figures, DIM_STYLE)
    line.append(clip if level.clipped else " " * len(clip), "bold red")
    line.truncate(width)
    return line


def _scale_position(decibels: float, room: int) -> int:
    return int(min(1.0, max(0.0, 1 - decibels / MIN_LEVEL_DB)) * (room - 1) + 0.5)


def _figures(reading: Reading) -> Iterator[str]:
    if reading.latency_p50_s is not None and reading.latency_p95_s is not None:
        yield f"latency {reading.latency_p50_s:.2f} s, p95 {reading.latency_p95_s:.2f} s"
    if reading.rtf is not None:
        yield f"{reading.rtf:.3f} x real time"
    lost = f", {reading.lost_s:.1f} s lost" if reading.lost_s else ""
    yield f"{plural(reading.gaps, 'gap')}{lost}"
    if reading.level is not None or reading.xruns:
        yield plural(reading.xruns, "xrun")
    if reading.dropped:
        yield f"{plural(reading.dropped, 'frame')} dropped"


def _flow(texts: Iterable[str], width: int, max_lines: int) -> list[Text]:
    """Return the texts side by side on as many lines as they need; what does not fit is left out."""
    lines: list[str] = []
    for text in texts:
        if lines and cell_len(lines[-1]) + 3 + cell_len(text) <= width:
            lines[-1] += f"   {text}"
        elif len(lines) < max_lines:
            lines.append(cut(text, width))
    return [Text(line, DIM_STYLE) for line in lines]
