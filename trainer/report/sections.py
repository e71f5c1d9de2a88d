"""The sections of a report: Markdown text made of results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trainer.report import published
from trainer.report.plots import Result, Results
from trainer.report.published import Published
from trainer.systems import SYSTEMS, TABLE_2, System, named

DASH = "–"
PAPER_HEADER = ("system", "paper's parameters", "ours", "paper's ROC-AUC", "ours", "PR-AUC", "runs", "")
REPRODUCTION_HEADER = (
    "system", "size", "paper", "ours", "human", "3 s", "time", "MiB", "speed"
)  # fmt: skip
POOLINGS = {"last": "the last frame", "learned": "learned pooling"}  # other than the mean
MAX_TAGS = 60  # rows of the table of tags


def clip_scores(result: Result) -> dict[str, Any]:
    """Return the scores of clips by the pooling that was asked for."""
    found: dict[str, Any] = result["scores"][result.get("pooling", "mean")]
    return found


def scores(results: Results) -> str:
    """Return the clip scores of all systems, best first."""
    header = ("system", "parameters", "ROC-AUC", "PR-AUC", "last frame", "learned pooling", "tags scored", "ECE")
    rows = [
        (
            str(result["name"]), thousands(result.get("parameters")),
            *(score(clip_scores(result)[f"{n}_auc"], clip_scores(result)[f"{n}_auc_interval"])
              for n in ("roc", "pr")),
            score(result["scores"]["last"]["roc_auc"]), score(result["scores"]["learned"].get("roc_auc")),
            f"{clip_scores(result)['scored_tags']} of {len(result['tags'])}",
            score(result["calibration"]["ece"]),
        )
        for result in sorted(results, key=lambda r: -(clip_scores(r)["roc_auc"] or 0.0))
    ]  # fmt: skip
    first = results[0]["intervals"]
    remark = (
        "Macro means over the scored tags; a clip's score is the mean of its frames, unless another column says so. "
        f"In brackets: where {first['level']:.0%} of {first['draws']:,} draws of {first['groups']:,} {first['by']}s "
        "fell."
    )
    if first["clips_without_artist"]:
        remark += f" {first['clips_without_artist']:,} clips without a known artist count as one each."
    for result in results:
        if (pooling := result.get("pooling", "mean")) != "mean":
            remark += f" {result['name']}: by {POOLINGS[pooling]}."
    missing = {result["scores"]["learned"].get("missing") for result in results} - {None}
    if missing:
        remark += f" No learned pooling where {' or '.join(sorted(missing))}."
    return f"{table(header, rows)}\n\n{remark}"


def by_kind(result: Result) -> str:
    """Return the scores by kind of clip, or nothing if there is one kind."""
    if len(result["parts"]) < 2:
        return ""
    header = (
        "clips",
        "number",
        "ROC-AUC",
        "PR-AUC",
        "after 1 s",
        "after 3 s",
        "after 10 s",
        "mean difference",
        "correlation",
    )
    keys = ("roc_auc", "pr_auc", "roc_auc_1s", "roc_auc_3s", "roc_auc_10s", "difference", "correlation")
    rows = [(kind, thousands(row["clips"]), *(score(row[k]) for k in keys)) for kind, row in result["parts"].items()]
    return table(header, rows)


def paper(results: Results) -> str:
    """Return the paper's systems beside our results of the same names; runs that differ by the seed are averaged."""
    remark = f"{published.PAPER}, Table 2. Ours in brackets: lowest and highest run."
    return f"{table(PAPER_HEADER, paper_rows(results))}\n\n{remark}"


def paper_rows(results: Results) -> list[tuple[str, ...]]:
    """Return the rows below PAPER_HEADER: Table 2, then what else was trained."""
    trained = [str(result["system"]) for result in results if result.get("system")]
    names = [*TABLE_2, *(name for name in dict.fromkeys(trained) if name not in TABLE_2)]
    groups = [(name, group) for name in names for group in _with_equal_settings(name, results) or [(name, [])]]
    return [_paper_row(named(name), *group) for name, group in groups]


def _with_equal_settings(system: str, results: Results) -> list[tuple[str, Results]]:
    """Return the runs of a system, those that differ by the seed only together, with a label of each group."""
    groups: dict[str, list[Any]] = {}
    for result in results:
        if result.get("system") == system:
            settings = {name: value for name, value in result.get("training", {}).items() if name != "seed"}
            groups.setdefault(repr(sorted(settings.items())), []).append(result)
    return [(system if len(groups) == 1 else str(runs[0]["name"]), runs) for runs in groups.values()]


def _paper_row(system: System, label: str, ours: Results) -> tuple[str, ...]:
    known = system.published
    count = f"{known.parameters_k:,}K" if known and known.parameters_k else DASH
    note = system.note or ("" if system.name in TABLE_2 else "not in Table 2")
    return (
        label, count, thousands(ours[0]["parameters"]) if ours else DASH, score(known.roc_auc if known else None),
        mean(ours, "roc_auc"), mean(ours, "pr_auc"), str(len(ours)), note,
    )  # fmt: skip


def reproduction_rows(results: Results) -> list[tuple[str, ...]]:
    """Return the rows below REPRODUCTION_HEADER in the table's order; runs that differ by the seed are averaged."""
    order = {name: number for number, name in enumerate(SYSTEMS)}
    names = sorted(
        dict.fromkeys(str(result["system"]) for result in results), key=lambda name: order.get(name, len(order))
    )
    return [_reproduction_row(named(name), *group) for name in names for group in _with_equal_settings(name, results)]


def _reproduction_row(system: System, label: str, runs: Results) -> tuple[str, ...]:
    def average(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    people = [run["human"] for run in runs if "human" in run]
    heard = [dict(zip(each["heard"]["seconds"], each["heard"]["roc_auc"], strict=True)) for each in people]
    costs = [run["cost"] for run in runs if "cost" in run]
    training, memory, cost = (average([c[n] for c in costs]) for n in ("training_s", "training_bytes", "stream_s"))
    known = system.published
    return (
        label, f"{runs[0]['parameters'] / 1e6:.1f}M", score(known.roc_auc if known else None),
        score(average([clip_scores(run)["roc_auc"] for run in runs])),
        score(average([each["roc_auc"] for each in people])), score(average([each[3.0] for each in heard])),
        DASH if training is None else duration(training), DASH if memory is None else f"{memory / 2**20:,.0f}",
        DASH if cost is None else f"{1 / cost:.0f}×",
    )  # fmt: skip


def reproduction_remark(results: Results) -> str:
    """Return how much the scores of the table may be off, and what its columns mean."""

    def widest(intervals: Sequence[Sequence[float | None]]) -> str:
        halves = [(high - low) / 2 for low, high in intervals if low is not None and high is not None]
        return f"±{max(halves):.3f}" if halves else DASH

    first = results[0]
    ours = widest([clip_scores(result)["roc_auc_interval"] for result in results])
    level = first["intervals"]["level"]
    remark = f"ours: {first['split']} split, {first['clips']:,} clips, {level:.0%} intervals up to {ours}."
    if people := [result["human"] for result in results if "human" in result]:
        wide = widest([each["roc_auc_interval"] for each in people])
        one = people[0]
        remark += (
            f" human: tags by people of {one['tracks']} tracks by {one['artists']} artists who were not learned, whole"
            f" and their first 3 s, {one['level']:.0%} intervals up to {wide}."
        )
    return (
        f"{remark} Intervals by artist. time, MiB: of training, memory beside the data. speed: of a stream on one"
        " thread of a CPU, in real time."
    )


def mean(results: Results, name: str) -> str:
    """Return the mean over runs, with the lowest and highest if there are several."""
    values = [value for r in results if (value := clip_scores(r)[name]) is not None]
    if not values:
        return DASH
    ends = (min(values), max(values)) if len(values) > 1 else None
    return score(sum(values) / len(values), ends)


def others() -> str:
    header = ("published", "ROC-AUC", "PR-AUC", "source", "")
    return table(header, [_published(row) for row in published.OTHERS])


def _published(row: Published) -> tuple[str, ...]:
    return row.name, score(row.roc_auc), score(row.pr_auc), row.source, row.note


def comparable(results: Results) -> str:
    """Say whether published scores may be compared with ours."""
    if all(result["comparable"] for result in results):
        return "The same clips and tags as those of the published scores below."
    return (
        "**These scores do not compare with published ones**: they are not of MagnaTagATune's whole "
        f"{results[0]['split']} split."
    )


def tags(result: Result) -> str:
    header = ("tag", "positives", "ROC-AUC", "PR-AUC", "calibration error")
    rows = sorted(result["tags"].items(), key=lambda item: -item[1]["positives"])
    lines = [
        (
            tag, thousands(row["positives"]), score(row["roc_auc"], row["roc_auc_interval"]),
            score(row["pr_auc"], row["pr_auc_interval"]), score(result["calibration"]["by_tag"][tag]),
        )
        for tag, row in rows[:MAX_TAGS]
    ]  # fmt: skip
    return table(header, lines)


def not_scored(result: Result) -> str:
    """List the tags that are missing from the means, with reasons, or return nothing."""
    if not result["not_scored"]:
        return ""
    listed = "\n".join(f"- {tag}: {why}" for tag, why in result["not_scored"].items())
    return f"{len(result['not_scored'])} tags cannot be scored and are left out of the means:\n\n{listed}"


def confusions(result: Result) -> str:
    header = ("among the clips with", "is heard", "mean probability", "share that has both")
    rows = [
        (row["tag"], row["heard"], score(row["predicted"]), score(row["given"]))
        for row in result["confusion"]["strongest"]
    ]
    return table(header, rows)


def data(results: Results) -> Iterator[str]:
    """Describe the data, with its notes."""
    first = results[0]
    yield f"{first['about'] or first['data']}; split **{first['split']}**, {first['clips']:,} clips."
    kinds = {"hard": "0 or 1", "soft": f"probabilities; a tag counts as given from {first['positive_from']} on"}
    yield f"Targets: {kinds[first['targets']]}."
    if first["notes"]:
        yield "\n".join(f"- {note}" for note in first["notes"])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, with the first column aligned left and the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def score(value: float | None, interval: Sequence[float | None] | None = None) -> str:
    """Return 0.912, or 0.912 (0.903–0.920)."""
    if value is None:
        return DASH
    if interval is None or None in interval:
        return f"{value:.3f}"
    low, high = interval
    return f"{value:.3f} ({low:.3f}{DASH}{high:.3f})"


def duration(value: float) -> str:
    """Return 42 s, 12 min or 3.4 h."""
    return f"{value:.0f} s" if value < 100 else f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"


def thousands(count: int | None) -> str:
    return DASH if count is None else f"{count:,}"
