"""A tagogram: concepts or tags over time as a picture, the strongest first."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamtag.inference.presence import format_verdict, group_names, present_seconds, selected_present
from streamtag.inference.timeline import Timeline, interval_means
from streamtag.protocol.selection import Selection
from streamtag.sinks.labels import Label, find_labels
from streamtag.text import format_length, format_time, time_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS = 20  # without --top
MAX_COLUMNS = 1200  # about one per pixel
SUFFIXES = (".png", ".svg", ".pdf")
WIDTH, ROW_HEIGHT, DPI = 16.0, 0.345, 100  # inches, dots per inch: twenty rows make 1600 x 900 pixels
LEFT, RIGHT, TOP, BOTTOM = 1.7, 0.45, 1.3, 0.8  # margins in inches
BACKGROUND, FOREGROUND, FAINT, PRESENT = "#0d0d14", "#e8e6e3", "#8b8894", "#7ce0c3"
FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic", "Noto Sans")
COLOURS = "inferno"  # perceptually uniform
GAMMA, SCALE_TICKS = 0.6, (0, 0.1, 0.25, 0.5, 1)  # lifts the small probabilities of rare tags out of the dark


def tagogram(timeline: Timeline, selection: Selection, path: Path) -> bytes:
    """Return the picture of a complete timeline in the format of the path's suffix, one of SUFFIXES."""
    return draw(timeline, find_labels(timeline, selection), selection, path.suffix[1:].lower())


def draw(timeline: Timeline, labels: Sequence[Label], selection: Selection, kind: str) -> bytes:
    """Return the picture as the contents of a file. labels: are underlined; kind: png, svg or pdf."""
    return render(lambda: figure(timeline, labels, selection), kind)


def render(make_figure: Callable[[], Figure], kind: str) -> bytes:
    """Return a figure, which is made here, with fonts for every script. kind: png, svg or pdf."""
    import matplotlib as mpl  # late: importing takes longer than drawing most pictures
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    buffer = io.BytesIO()
    # File names are not formulas. Characters that no installed font has become boxes, without a warning.
    settings: Any = {"text.parse_math": False, "font.family": [font for font in FONTS if font in installed]}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        make_figure().savefig(buffer, format=kind, facecolor=BACKGROUND)
    return buffer.getvalue()


def figure(timeline: Timeline, labels: Sequence[Label], selection: Selection) -> Figure:
    """Return the figure: title and colour scale at the top, labels over time in the middle, means at the right."""
    from matplotlib.figure import Figure

    order = selection.strongest(timeline.means, MAX_ROWS)
    present = selected_present(timeline, selection, present_seconds(timeline, selection))
    height = TOP + BOTTOM + ROW_HEIGHT * len(order)
    result = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=BACKGROUND)
    top, left, right = 1 - TOP / height, LEFT / WIDTH, 1 - RIGHT / WIDTH
    sides = {"left": left, "right": right, "top": top, "bottom": BOTTOM / height}
    grid = result.add_gridspec(1, 2, width_ratios=(7.0, 1.0), wspace=0.02, **sides)
    image = _draw_timeline(result.add_subplot(grid[0, 0], facecolor=BACKGROUND), timeline, labels, order)
    _draw_means(result.add_subplot(grid[0, 1], facecolor=BACKGROUND), timeline, present, order)
    text: dict[str, Any] = {"x": left, "va": "baseline"}
    result.text(y=top + 0.55 / height, s=shortened(timeline.name), color=FOREGROUND, size=22, weight="bold", **text)
    result.text(y=top + 0.2 / height, s=format_length(timeline.seconds), color=FAINT, size=12, **text)
    names = format_verdict(group_names(present, selection.labels, selection.categories))
    result.text(left + 0.05, top + 0.2 / height, shortened(names, 110), color=PRESENT, size=12, va="baseline")
    legend = f"underlined: where a {selection.kind} is present; green mean: present in the whole"
    result.text(left, 0.2 / height, legend, color=FAINT, size=11, va="baseline")
    scale = result.add_axes((right - 0.18, top + 0.62 / height, 0.18, 0.13 / height))
    result.colorbar(image, cax=scale, orientation="horizontal", ticks=SCALE_TICKS, format="%g")
    scale.set_frame_on(False)
    scale.tick_params(colors=FAINT, labelsize=10, length=0)
    scale.set_title("probability", color=FAINT, fontsize=10, pad=4)
    return result


def _draw_timeline(axes: Axes, timeline: Timeline, labels: Sequence[Label], order: list[int]) -> Any:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import PowerNorm

    values = np.stack([resample_columns(timeline.probs[:, index]) for index in order])
    start, end = timeline.start_s, timeline.start_s + max(timeline.seconds, 1e-3)
    extent = (start, end, len(order) - 0.5, -0.5)
    image = axes.imshow(
        values, aspect="auto", cmap=COLOURS, norm=PowerNorm(GAMMA, 0, 1), extent=extent, interpolation="nearest"
    )
    axes.hlines(np.arange(len(order) + 1) - 0.5, start, end, color=BACKGROUND, linewidth=5)
    rows = {timeline.labels[index]: row for row, index in enumerate(order)}
    shown = [label for label in labels if label.name in rows]
    lines = [[(label.start, rows[label.name] + 0.46), (label.end, rows[label.name] + 0.46)] for label in shown]
    axes.add_collection(LineCollection(lines, colors=PRESENT, linewidths=1.5))
    axes.set_yticks(range(len(order)), [timeline.labels[index] for index in order])
    axes.tick_params(axis="y", colors=FOREGROUND, labelsize=13, pad=8, length=0)
    ticks = time_ticks(start, end)
    axes.set_xticks(ticks, [format_time(tick) for tick in ticks])
    axes.tick_params(axis="x", colors=FAINT, labelsize=12, length=5)
    axes.set_xlim(start, end)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_frame_on(False)
    return image


def _draw_means(axes: Axes, timeline: Timeline, present: list[int], order: list[int]) -> None:
    from matplotlib import colormaps

    means = timeline.means[order]
    # The dark end of the map would be invisible on the background.
    colours = colormaps[COLOURS](0.2 + 0.8 * means**GAMMA)
    axes.barh(range(len(order)), means, height=0.62, color=colours)
    for row, (index, mean) in enumerate(zip(order, means, strict=True)):
        colour = PRESENT if index in present else FAINT
        axes.text(mean + 0.04, row, f"{mean:.2f}", va="center", size=11, color=colour)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlim(0, 1.25)
    axes.set_axis_off()
    axes.set_title("mean", color=FAINT, fontsize=12, loc="left", pad=6)


def resample_columns(probs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return one label's probabilities [F] over the width [MAX_COLUMNS]: means of many frames, or interpolated ones."""
    means = interval_means(probs, MAX_COLUMNS)
    if not len(means):
        return np.zeros(MAX_COLUMNS)
    at = (np.arange(MAX_COLUMNS) + 0.5) / MAX_COLUMNS * len(means) - 0.5
    return np.interp(at, np.arange(len(means)), means)


def time_ticks(start: float, end: float) -> NDArray[np.float64]:
    """Return round times from `start` to `end` seconds, at most about twelve."""
    step = time_step((end - start) / 12)
    return np.arange(np.ceil(start / step) * step, end + 1e-9, step)


def shortened(name: str, limit: int = 52) -> str:
    """Return a name that has room in a title."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
