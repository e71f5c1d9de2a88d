"""Results as tables on standard output, and the progress bar on standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from trainer.concepts.fit import ConceptFit

SCORE_NAMES = {"mean": "mean of the frames", "last": "last frame", "learned": "learned pooling"}


def progress_bar() -> Progress:
    """Return a bar with the count, the time so far and the remaining time."""
    text, bar, count = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(text, bar, count, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))


def print_result(result: dict[str, Any]) -> None:
    """Print the scores of one evaluation."""
    console = Console()
    remark = "" if result["comparable"] else ", not comparable with published scores"
    console.print(f"{result['name']}: split {result['split']} of {result['data']}, {result['clips']:,} clips{remark}")
    for tag, why in result["not_scored"].items():
        console.print(f"not scored, left out of the means: {tag}: {why}")
    by = "" if result["pooling"] == "mean" else f"; all below by the {SCORE_NAMES[result['pooling']]}"
    console.print(_table(f"clip scores{by}", ("", "ROC-AUC", "PR-AUC"), _scores(result["scores"])))
    if len(result["parts"]) > 1:
        console.print(_mapping_table("by kind", "clips", result["parts"]))
    if "heard" in result["streaming"]:
        console.print(_streaming(result["streaming"]))
        console.print(_song_changes(result["streaming"]))
        if why := result["streaming"]["cross_fade"].get("missing"):
            console.print(f"no cross-fade: {why}")
    ordered = dict(sorted(result["tags"].items(), key=lambda item: -item[1]["positives"]))
    plain = {tag: {k: v for k, v in row.items() if not k.endswith("_interval")} for tag, row in ordered.items()}
    console.print(_mapping_table("by tag", "tag", plain))


def print_reproduction(results: Sequence[dict[str, Any]], unfinished: Mapping[str, int]) -> None:
    """Print every trained system beside the paper's, and the unfinished ones with their epochs so far."""
    from trainer.report import sections  # slow: `download` and `prepare` only draw a progress bar

    console = Console()
    if results:
        first = results[0]
        remark = "" if first["comparable"] else " (not the clips of the paper: the columns do not compare)"
        title = f"ROC-AUC, {first['data']}{remark}"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for place, name in enumerate(sections.REPRODUCTION_HEADER):
            table.add_column(name, justify="right" if place else "left", no_wrap=True)
        for row in sections.reproduction_rows(results):
            table.add_row(*row)
        console.print(table)
        console.print(sections.reproduction_remark(results))
    for name, epochs in unfinished.items():
        console.print(f"not done: {name}, {epochs} epochs so far" if epochs else f"not begun: {name}")


def print_human(results: Sequence[dict[str, Any]]) -> None:
    """Print models beside each other: their scores against human tags, by the seconds heard and by concept."""
    console = Console()
    first = results[0]
    console.print(
        f"{first['tracks']} tracks of {first['artists']} artists, {first['scored_tags']} human tags;"
        f" {first['level']:.0%} intervals by artist"
    )
    if not first.get("left_out_checked", True):
        console.print("model files do not say whose music they learned from: that the folds match is not checked")
    head = ("", "ROC-AUC", "PR-AUC", *(f"after {seconds:g} s" for seconds in first["heard"]["seconds"]))
    console.print(_table("against human tags", head, [_human_row(result) for result in results]))
    concepts = sorted(first["concepts"].items(), key=lambda item: -item[1]["positives"])
    rows = [
        (name, row["positives"], *(_concept_score(result["concepts"].get(name)) for result in results))
        for name, row in concepts
        if row["roc_auc"] is not None
    ]
    names = [result["model"] for result in results]
    console.print(_table("ROC-AUC by concept", ("concept", "positives", *names), rows))


def print_concepts(fits: Sequence[ConceptFit]) -> None:
    """Print each concept's threshold and what speaks for it."""
    rows = [
        (
            fit.concept.name, _cell(fit.concept.threshold), f"{fit.positives:.1f}", fit.source or "-",
            *("-" if isnan(value) else f"{value:.3f}" for value in (fit.roc_auc, fit.roc_auc_lower)),
            *(f"{value:.3f}" for value in (fit.precision, fit.ece, fit.ece_before)),
        )
        for fit in sorted(fits, key=lambda fit: -fit.positives)
    ]  # fmt: skip
    head = ("concept", "threshold", "positives", "against", "ROC-AUC", "at least", "precision", "ECE", "before")
    Console().print(_table("concepts", head, rows))


def _human_row(result: Mapping[str, Any]) -> Sequence[str]:
    scores = [_with_interval(*_score(result, f"{name}_auc")) for name in ("roc", "pr")]
    return (result["model"], *scores, *map(_cell, result["heard"]["roc_auc"]))


def _concept_score(row: Mapping[str, Any] | None) -> str:
    return "-" if row is None else _with_interval(*_score(row, "roc_auc"))


def _score(row: Mapping[str, Any], name: str) -> tuple[float | None, Sequence[float | None]]:
    return row[name], row[f"{name}_interval"]


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for key, row in scores.items():
        if "missing" in row:
            rows.append((SCORE_NAMES[key], row["missing"], ""))
            continue
        rows.append((SCORE_NAMES[key], *(_with_interval(*_score(row, f"{n}_auc")) for n in ("roc", "pr"))))
    return rows


def _streaming(streaming: Mapping[str, Any]) -> Table:
    found = streaming["heard"]
    rows = [(f"after {s:g} s", _cell(value)) for s, value in zip(found["seconds"], found["mean"], strict=True)]
    if endless := streaming.get("endless"):
        rows.append((f"in minute {endless['minutes'][-1]} of an endless stream", _cell(endless["roc_auc"][-1])))
        rows.append(("the same clips from silence", _cell(endless["fresh"])))
    return _table("as it is heard", ("", "ROC-AUC"), rows)


def _song_changes(streaming: Mapping[str, Any]) -> Table:
    from trainer.report.streaming import changes, old_left, seconds  # slow, as above

    rows = [
        (
            name, change["clips"], *(seconds(change[key]) for key in ("arrived_s", "fresh_arrived_s")),
            *(old_left(change, key) for key in ("old_half_s", "old_gone_s")),
        )
        for name, change in changes(streaming).items()
    ]  # fmt: skip
    head = ("", "clips", f"{streaming['song_change']['share']:.0%} of it", "from silence", "old one half gone", "gone")
    return _table("after a change of song", head, rows)


def _mapping_table(title: str, head: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    names = list(next(iter(rows.values())))
    lines = [(name, *(_cell(row[key]) for key in names)) for name, row in rows.items()]
    return _table(title, (head, *(name.replace("_", " ") for name in names)), lines)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left", no_wrap=not place)
    for row in rows:
        table.add_row(*map(str, row))
    return table


def _with_interval(value: float | None, interval: Sequence[float | None]) -> str:
    return _cell(value) if None in interval else f"{_cell(value)} ({interval[0]:.4f} to {interval[1]:.4f})"


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
