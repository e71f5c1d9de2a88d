"""How a live stream looks on a terminal of any size: pure drawing, from one picture of its state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from streamtag.audio.level_meter import Level, Reading
from streamtag.protocol.selection import Selection
from streamtag.terminal.bars import ABSENT, PRESENT, QUIET, WIDEST, Glyphs, bar
from streamtag.terminal.sparkline import sparkline
from streamtag.text import format_time, plural

BARS = 20  # at most where the user sets no --top; as many as fit
ROOMY = 18  # lines, from which on some are left free
QUIETEST_DB = -60.0  # where the level's scale begins
LOUD_DB, HOT_DB = -12.0, -3.0  # where its colour changes
TROUBLE = "bold yellow"


@dataclass(frozen=True)
class ViewModel:
    """All that is shown. bars, order: smoothed probabilities [P]; cells: [C, P], NaN where nothing was heard.

    about: where the sound comes from. facts: short things to tell, the most important first. notice: None if none.
    """

    stream: str
    about: str
    reading: Reading
    bars: NDArray[np.float64]
    order: NDArray[np.float64]
    cells: NDArray[np.float64]
    facts: tuple[str, ...]
    keys: str
    notice: str | None = None
    trouble: bool = False
    frozen: bool = False
    waiting: bool = False


def draw(picture: ViewModel, selection: Selection, strokes: Glyphs, width: int, height: int) -> Iterator[Text]:
    """At most `height` lines of at most `width` cells. What matters least goes first where there is no room."""
    width = min(width, WIDEST)
    roomy = height >= ROOMY
    head = [_title(picture, width)]
    if picture.reading.level is not None and height >= 4:
        head.append(_level(picture.reading.level, width, strokes))
    foot: list[Text] = []
    if height >= 6:
        foot += _flow(_figures(picture.reading), width, 2 if height >= 9 else 1)
    if height >= 12:
        foot += _flow(picture.facts, width, 2)
    if picture.notice is not None and height >= 5:
        foot.append(Text(_cut(picture.notice, width), TROUBLE if picture.trouble else QUIET))
    if picture.keys and height >= 8:
        foot.append(Text(_cut(picture.keys, width), QUIET))
    free = [Text()] if roomy else []
    room = height - len(head) - len(foot) - 2 * len(free)
    yield from head
    yield from free
    yield from _bars(picture, selection, strokes, width, max(0, min(selection.top or BARS, room)))
    yield from free
    yield from foot


def _title(picture: ViewModel, width: int) -> Text:
    """The stream, where its sound comes from, and how long it has been heard."""
    state = "frozen" if picture.frozen else "waiting" if picture.waiting else ""
    clock = format_time(picture.reading.elapsed_s)
    right = Text.assemble((f" {state} ", "reverse yellow") if state else "", "  " if state else "", (clock, "bold"))
    room = max(0, width - right.cell_len - 2)
    name = _cut(picture.stream, room)
    about = _cut(picture.about, room - cell_len(name) - 2) if picture.about else ""
    left = Text.assemble((name, "bold"), "  " if about else "", (about, QUIET))
    left.pad_right(max(0, width - left.cell_len - right.cell_len))
    left.append_text(right)
    left.truncate(width)
    return left


def _level(level: Level, width: int, strokes: Glyphs) -> Text:
    """The sound's level on a scale of decibels, with its peak as a mark."""
    figures = f" {level.rms_db:4.0f} dBFS" if level.rms_db > -100 else "    - dBFS"
    clip = " CLIP"
    room = max(4, width - len("level ") - len(figures) - len(clip))
    ends = [_place(decibels, room) for decibels in (LOUD_DB, HOT_DB)]
    filled, peak = _place(level.rms_db, room), _place(level.peak_db, room)
    line = Text("level ", QUIET)
    for cell in range(room):
        colour = "green" if cell < ends[0] else "yellow" if cell < ends[1] else "red"
        if cell < filled:
            line.append(strokes.parts[-1], colour)
        elif cell == peak and level.peak_db > QUIETEST_DB:
            line.append(strokes.mark, colour)
        else:
            line.append(strokes.dot if cell in ends else " ", QUIET)
    line.append(figures, QUIET)
    line.append(clip if level.clipped else " " * len(clip), "bold red")
    line.truncate(width)
    return line


def _place(decibels: float, room: int) -> int:
    return int(min(1.0, max(0.0, 1 - decibels / QUIETEST_DB)) * (room - 1) + 0.5)


def _bars(picture: ViewModel, selection: Selection, strokes: Glyphs, width: int, rows: int) -> Iterator[Text]:
    """A tag a line: its name, a bar up to its probability, the figure, and its last seconds."""
    cells = len(picture.cells) if width >= 64 else len(picture.cells) // 2 if width >= 44 else 0
    longest = max(cell_len(name) for name in selection.names)
    names = min(longest, max(8, width // 3))
    room = max(4, width - names - 2 - 6 - (cells + 2 if cells else 0))
    for index in selection.strongest(picture.order)[:rows]:
        value, threshold = float(picture.bars[index]), selection.thresholds[index]
        style = "bold" if value >= threshold else QUIET
        line = Text(_cut(selection.tags[index], names, pad=True) + "  ", style)
        line.append_text(bar(value, threshold, room, strokes))
        line.append(f"  {value:.2f}", style)
        if cells:
            line.append("  ")
            line.append_text(_course(picture.cells[-cells:, index], threshold, strokes))
        line.truncate(width)
        yield line


def _course(heights: NDArray[np.float64], threshold: float, strokes: Glyphs) -> Text:
    """The tallest cell is the largest value, or the threshold: a weak tag never looks like a strong one."""
    known = ~np.isnan(heights)
    full = max(threshold, float(heights[known].max(initial=0.0)))
    text = Text()
    for height, there in zip(heights, known, strict=True):
        cell = sparkline(np.array([height]), full, strokes.courses) if there else " "
        text.append(cell, PRESENT if there and height >= threshold else ABSENT)
    return text


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


def _flow(pieces: Iterable[str], width: int, most: int) -> list[Text]:
    """Pieces side by side, as many lines as they need but at most `most`; what does not fit is left out."""
    lines: list[str] = []
    for piece in pieces:
        if lines and cell_len(lines[-1]) + 3 + cell_len(piece) <= width:
            lines[-1] += f"   {piece}"
        elif len(lines) < most:
            lines.append(_cut(piece, width))
    return [Text(line, QUIET) for line in lines]


def _cut(text: str, width: int, pad: bool = False) -> str:
    """No wider than `width` cells; `pad`: exactly as wide."""
    width = max(0, width)
    if cell_len(text) > width:
        return set_cell_size(text, width) if width < 4 else set_cell_size(text, width - 2) + ".."
    return set_cell_size(text, width) if pad else text
