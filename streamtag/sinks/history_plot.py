"""A history as a picture: a panel per stream, a row per concept, and the hours across."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamtag.history.bins import MIN_RESOLUTION_S, ConceptBins, DayHistory, StreamBins, TimeBins, read_bins
from streamtag.history.times import format_moment
from streamtag.inference.presence import category_rank
from streamtag.sinks.plot import BACKGROUND, DPI, FAINT, FOREGROUND, GAMMA, PRESENT, WIDTH, render, shortened
from streamtag.text import format_length, plural, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 16
MAX_ROWS = 20  # concepts of a panel, the longest
COLUMNS = 1200  # bins across: about one per pixel
HEARD, LOST = "#23232f", "#ff7f50"  # where the stream ran; where audio was lost
ROW_HEIGHT, TITLE, BETWEEN, TOP, BOTTOM, LEFT, RIGHT = 0.26, 0.42, 0.6, 0.75, 0.45, 1.7, 1.0  # inches


def draw_history(
    path: Path, span: tuple[float, float], streams: Sequence[str] | None, concepts: Sequence[str] | None, kind: str
) -> bytes:
    """Return the picture of a range (from, to) as the contents of a file. streams, concepts: names, None: all.

    kind: png, svg or pdf. Raises SourceError for a file that cannot be read, SpecError for too long a range.
    """
    bins = TimeBins(*span, max(MIN_RESOLUTION_S, (span[1] - span[0]) / COLUMNS))
    day = read_bins(path, bins, streams)
    return render(lambda: figure(day, concepts), kind)


def figure(day: DayHistory, concepts: Sequence[str] | None = None, zone: tzinfo | None = None) -> Figure:
    """Return the figure: the range at the top, then the panels. concepts: names, None: all; zone: None: local."""
    from matplotlib.figure import Figure

    panels = [(stream, *_rows(stream, concepts)) for stream in day.streams[:MAX_PANELS]]
    heights = [TITLE + ROW_HEIGHT * max(1, len(rows)) + BETWEEN for _, rows, _ in panels]
    height = TOP + sum(heights) + BOTTOM
    result = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=BACKGROUND)
    text: dict[str, Any] = {"x": LEFT / WIDTH, "va": "baseline"}
    span = f"{format_moment(day.bins.from_at, zone)} to {format_moment(day.bins.to_at, zone)}"
    result.text(y=1 - 0.45 / height, s=span, color=FOREGROUND, size=18, weight="bold", **text)
    more = len(day.streams) - len(panels) + day.left_out
    legend = "light: on; grey: heard; black: not heard; triangles: audio was lost"
    legend += f"; {plural(more, 'more stream')} not shown" if more else ""
    result.text(y=0.18 / height, s=legend, color=FAINT, size=11, **text)
    top = height - TOP
    for (stream, rows, chosen), panel in zip(panels, heights, strict=True):
        bottom = top - panel + BETWEEN
        sides = (LEFT / WIDTH, bottom / height, 1 - (LEFT + RIGHT) / WIDTH, (panel - TITLE - BETWEEN) / height)
        _draw_panel(result.add_axes(sides), day.bins, stream, rows, zone)
        y = (top - TITLE + 0.14) / height
        result.text(y=y, s=shortened(printable(stream.stream)), color=FOREGROUND, size=14, weight="bold", **text)
        if len(rows) < chosen:
            note = f"the {len(rows)} longest of {chosen} concepts"
            result.text(1 - RIGHT / WIDTH, y, note, color=FAINT, size=11, va="baseline", ha="right")
        top -= panel
    return result


def _rows(stream: StreamBins, concepts: Sequence[str] | None) -> tuple[list[ConceptBins], int]:
    """Return the longest of the chosen concepts, by category, and the number of all that are chosen."""
    chosen = [each for each in stream.concepts if concepts is None or each.concept in concepts]
    longest = sorted(chosen, key=lambda each: -each.seconds)[:MAX_ROWS]
    longest.sort(key=lambda each: (category_rank(each.category), each.category, -each.seconds))
    return longest, len(chosen)


def _draw_panel(axes: Axes, bins: TimeBins, stream: StreamBins, rows: list[ConceptBins], zone: tzinfo | None) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    count = max(1, len(rows))
    start, to, end = (_date(at) for at in (bins.from_at, bins.to_at, bins.end_at))
    present = np.array([each.present for each in rows]).reshape(-1, bins.count)
    colours = _colours(stream.heard, present if len(rows) else np.zeros((1, bins.count)))
    axes.imshow(colours, aspect="auto", extent=(start, end, count - 0.5, -0.5), interpolation="nearest")
    axes.hlines(np.arange(count + 1) - 0.5, start, end, color=BACKGROUND, linewidth=3)
    places = [_date(at) for at, _ in stream.gaps if bins.from_at <= at < bins.to_at]
    axes.plot(places, [-0.75] * len(places), linestyle="", marker="v", color=LOST, markersize=5, clip_on=False)
    for row, each in enumerate(rows):
        length = format_length(each.seconds)
        axes.text(to, row, f"  {length}", va="center", color=FAINT, size=10)
    names = [each.concept for each in rows] or ["nothing"]
    axes.set_yticks(range(count), names)
    axes.tick_params(axis="y", colors=FOREGROUND, labelsize=11, pad=8, length=0)
    shown_zone = zone or ""  # matplotlib takes the zone without a name for the local one
    locator = AutoDateLocator(tz=shown_zone, minticks=6, maxticks=13)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=shown_zone, show_offset=False))
    axes.tick_params(axis="x", colors=FAINT, labelsize=10, length=4)
    axes.set_xlim(start, to)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_frame_on(False)


def _colours(heard: NDArray[np.float64], present: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colours [R, B, 3] of fractions of each bin: heard [B], and present [R, B]."""
    from matplotlib.colors import to_rgb

    dark, grey, light = (np.array(to_rgb(each)) for each in (BACKGROUND, HEARD, PRESENT))
    base = dark + heard[:, None] * (grey - dark)
    return np.asarray(base + present[:, :, None] ** GAMMA * (light - base))


def _date(at: float) -> float:
    from matplotlib.dates import date2num

    return float(date2num(datetime.fromtimestamp(at, UTC)))
