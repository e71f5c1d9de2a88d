"""The plots of a report, drawn from its figures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Result = dict[str, Any]
Results = Sequence[Result]

DPI = 110
WIDTH = 9.0  # inches
FAINT, INK, GRID = "#8a8f98", "#22262b", "#e4e6e9"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito's
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1)))
MAX_TAGS = 60  # rows of a plot
MIN_LINE = 10  # epochs from which on a curve has no points
STYLE: Any = {
    "font.size": 10, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "axes.axisbelow": True,
    "legend.frameon": False, "text.parse_math": False,
}  # fmt: skip


def png(draw: Callable[[], Figure]) -> bytes:
    """Return the plot that `draw` makes, in the report's style, as PNG."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        draw().savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()


def by_seconds_heard(results: Results) -> Figure:
    """Plot the scores after so many seconds: of the mean so far, and of the last frame."""
    figure, axes = _axes("seconds heard", "macro ROC-AUC")
    for style, result in _styles(results):
        found = result["streaming"]["heard"]
        axes.plot(found["seconds"], _floats(found["mean"]), marker="o", label=result["name"], **style)
        axes.plot(found["seconds"], _floats(found["last"]), **{**style, "lw": 1.2, "alpha": 0.55})
    axes.set_xscale("log")
    ticks = results[0]["streaming"]["heard"]["seconds"]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_title("mean of the frames so far; thin: last frame alone", loc="left", color=FAINT, size=10)
    _legend(axes, results)
    return figure


def after_a_song_change(results: Results) -> Figure:
    """Plot the last frame's score by the time since a change of song, after another song and from the initial state.

    Above against the new song's tags, below against the old one's; hard cuts are on the left, and cross-fades on the
    right if there are any.
    """
    kinds = {"hard cut": "song_change", "cross-fade": "cross_fade"}
    changes = {
        title: [(style, r["name"], r["streaming"][kind]) for style, r in _styles(results)
                if "carried" in r["streaming"].get(kind, {})]
        for title, kind in kinds.items()
    }  # fmt: skip
    changes = {title: found for title, found in changes.items() if found}
    figure = Figure(figsize=(WIDTH, 6.4))
    panels = figure.subplots(2, len(changes), sharex=True, sharey="row", squeeze=False)
    for (title, found), (above, below) in zip(changes.items(), panels.T, strict=True):
        for style, name, change in found:
            for axes, prefix, marks in (
                (above, "", ("arrived_s",)), (below, "old_", ("old_half_s", "old_gone_s"))
            ):  # fmt: skip
                if f"{prefix}carried" not in change:  # figures of an earlier version
                    continue
                axes.plot(change["heard_s"], _floats(change[f"{prefix}carried"]), label=name, **style)
                axes.plot(change["heard_s"], _floats(change[f"{prefix}fresh"]), **{**style, "lw": 1.2, "alpha": 0.55})
                for moment in filter(None, map(change.get, marks)):
                    axes.axvline(moment, color=style["color"], lw=0.8, ls=":")
        above.set_title(title, loc="left")
        below.set_xlabel("seconds since the change")
        below.set_xlim(left=0)
    panels[0, 0].set_ylabel("ROC-AUC, new song's tags")
    panels[1, 0].set_ylabel("ROC-AUC, old song's tags")
    _legend(panels[0, -1], results)
    title = "after another song; thin: from silence; dotted: 95 % of the final gain; half and 5 % of the old song left"
    figure.suptitle(title, x=0.01, ha="left", color=FAINT, size=10)
    figure.tight_layout()
    return figure


def in_an_endless_stream(results: Results) -> Figure:
    """Plot the score by the minute of an endless stream, and from the initial state."""
    figure, axes = _axes("minute of an endless stream", "macro ROC-AUC")
    for style, result in _styles(results):
        found = result["streaming"]["endless"]
        axes.plot([1, *found["minutes"]], _floats([found["fresh"], *found["roc_auc"]]), marker="o",
                  label=result["name"], **style)  # fmt: skip
        axes.axhline(found["fresh"] or 0.0, color=style["color"], lw=0.8, ls=":")
    axes.set_xscale("log")
    ticks = [1, *results[0]["streaming"]["endless"]["minutes"]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    _set_min_height(axes, 0.02)
    axes.set_title("each clip as the next one of a stream; dotted: from silence", loc="left", color=FAINT, size=10)
    _legend(axes, results)
    return figure


def by_tag(result: Result) -> Figure:
    """Plot ROC-AUC and PR-AUC of every scored tag, best first, with intervals."""
    scored = [(tag, row) for tag, row in result["tags"].items() if row["roc_auc"] is not None]
    scored = sorted(scored, key=lambda item: -item[1]["roc_auc"])[:MAX_TAGS]
    rows = np.arange(len(scored))
    figure = Figure(figsize=(WIDTH, 1.3 + 0.21 * len(scored)))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name, colour, title in (
        (left, "roc_auc", COLOURS[0], "ROC-AUC"),
        (right, "pr_auc", COLOURS[2], "PR-AUC; orange: chance"),
    ):
        values = np.array([row[name] for _, row in scored])
        bounds = np.array(
            [[end if end is not None else np.nan for end in row[f"{name}_interval"]] for _, row in scored]
        )
        axes.barh(rows, values, height=0.7, color=colour, alpha=0.8)
        axes.hlines(rows, *np.reshape(bounds, (-1, 2)).T, color=INK, lw=1)
        axes.set_title(title, loc="left")
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.0)
    left.axvline(0.5, color=FAINT, lw=0.8, ls=":")
    chance = [row["positives"] / max(1, result["clips"]) for _, row in scored]
    right.plot(chance, rows, ls="", marker="|", color=COLOURS[1], ms=7)
    left.set_yticks(rows, [f"{tag} ({row['positives']})" for tag, row in scored], fontsize=8)
    left.set_ylim(len(scored) - 0.4, -0.6)
    figure.tight_layout()
    return figure


def reliability(results: Results) -> Figure:
    """Plot the share of positives by predicted probability, and how often each probability is predicted."""
    figure = Figure(figsize=(WIDTH * 0.62, 5.4))
    axes, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1)})
    axes.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=":")
    for style, result in _styles(results):
        curve = result["calibration"]["curve"]
        label = f"{result['name']}, ECE {result['calibration']['ece']:.3f}"
        axes.plot(_floats(curve["said"]), _floats(curve["given"]), marker="o", ms=4, label=label, **style)
        below.plot(_floats(curve["said"]), curve["count"], marker="o", ms=3, **style)
    axes.set_ylabel("share given")
    below.set_yscale("log")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.set_ylabel("how often")
    below.set_xlabel("probability said")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure


def taken_for_each_other(result: Result) -> Figure:
    """Plot the mean probability of a tag among the clips that have another, minus the share that has both."""
    tags = list(result["tags"])[:MAX_TAGS]
    excess = np.array([_floats(row) for row in result["confusion"]["excess"]])[: len(tags), : len(tags)]
    side = 2.4 + 0.15 * len(tags)
    figure = Figure(figsize=(side + 0.8, side))
    axes = figure.subplots()
    np.fill_diagonal(excess, np.nan)
    limit = max(0.05, float(np.nanmax(np.abs(excess), initial=0.0)))
    image = axes.imshow(excess, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_xticks(range(len(tags)), tags, rotation=90, fontsize=7)
    axes.set_yticks(range(len(tags)), tags, fontsize=7)
    axes.grid(visible=False)
    axes.set_xlabel("is heard too much (red) or too little (blue)")
    axes.set_ylabel("among the clips with")
    figure.colorbar(image, ax=axes, shrink=0.6, label="mean probability minus share given")
    return figure


def learning_curves(results: Results, figures: Mapping[str, Sequence[str]]) -> Figure:
    """Plot loss and validation score by epoch.

    `figures` are titles with the systems that belong together: those of which there are several get a row of their own,
    all other results another one.
    """
    groups = {title: [r for r in results if r.get("system") in systems] for title, systems in figures.items()}
    groups = {title: group for title, group in groups.items() if len({r["system"] for r in group}) > 1}
    shown = [id(result) for group in groups.values() for result in group]
    if rest := [result for result in results if id(result) not in shown]:
        groups["others" if groups else ""] = rest
    figure = Figure(figsize=(WIDTH, 3.6 * len(groups)))
    rows = figure.subplots(len(groups), 2, squeeze=False)
    for (title, group), (left, right) in zip(groups.items(), rows, strict=True):
        for style, result in _styles(group):
            course = result["course"]
            marker = "o" if len(course["epoch"]) < MIN_LINE else None
            left.plot(course["epoch"], _floats(course["loss"]), label=result["name"], marker=marker, **style)
            right.plot(course["epoch"], _floats(course["roc_auc"]), marker=marker, **style)
        prefix = f"{title}, " if title else ""
        left.set_title(f"{prefix}training loss", loc="left")
        right.set_title("validation ROC-AUC", loc="left")
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(left, group)
    figure.tight_layout()
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _styles(results: Results) -> list[tuple[dict[str, Any], Result]]:
    """Return a line style for each result: all colours first, then another kind of line."""
    return [
        ({"color": COLOURS[n % len(COLOURS)], "ls": STYLES[n // len(COLOURS) % len(STYLES)], "lw": 2.0}, result)
        for n, result in enumerate(results)
    ]


def _set_min_height(axes: Axes, minimum: float) -> None:
    """Enlarge the value range to `minimum`, so that noise does not look like a decline."""
    low, high = axes.get_ylim()
    if high - low < minimum:
        middle = (low + high) / 2
        axes.set_ylim(middle - minimum / 2, middle + minimum / 2)


def _legend(axes: Axes, results: Results) -> None:
    axes.legend(fontsize=8, ncols=1 + (len(results) > 6), loc="best")


def _floats(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]
