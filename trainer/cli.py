"""The command line of training: prepare, train, evaluate, export."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from streamtag.core import ScatteringSpec, Tagger
from streamtag.core.model_file import load_tagger, save_tagger
from streamtag.errors import OutputError, SpecError, StreamtagError
from trainer import evaluate, export, manifest
from trainer.config import TrainConfig
from trainer.features import Cache, prepare
from trainer.manifest import Array, Manifest, read_manifest
from trainer.train import Run, load_data

FORMAT = "\n\n".join("\b\n" + part for part in (manifest.__doc__ or "").strip().split("\n\n"))
app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="the data set: a folder with clips.csv, tags.txt, targets and audio")]
CacheFolder = Annotated[Path | None, typer.Option("--cache", help="feature cache; default: DIR/features")]
Passes = Annotated[int, typer.Option(min=0, max=99, help="augmented passes over the training clips")]
Seed = Annotated[int, typer.Option(help="of the cache's augmentation")]


@app.callback(help=f"Train streamtag models on your own clips and tags.\n\n{FORMAT}")
def _main() -> None:
    """Sets nothing up."""


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))


def _cache(folder: Path, cache: Path | None, data: Manifest, seed: int) -> Cache:
    return Cache(cache or folder / "features", data, ScatteringSpec(), seed)


@app.command("prepare")
def prepare_command(
    folder: Folder,
    cache: CacheFolder = None,
    passes: Passes = 8,
    seed: Seed = 1,
    workers: Annotated[int, typer.Option(min=0, help="processes; default: one a core")] = os.cpu_count() or 1,
) -> None:
    """Compute the features of all clips; goes on where it was stopped."""
    store = _cache(folder, cache, read_manifest(folder), seed)
    with _progress() as progress:
        task = progress.add_task("features", total=None)
        for done, total in prepare(store, passes, workers):
            progress.update(task, completed=done, total=total)


@app.command("train")
def train_command(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="folder of the run; an interrupted run goes on")],
    cache: CacheFolder = None,
    passes: Passes = 8,
    seed: Seed = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="default: one a core")] = os.cpu_count() or 1,
    start: Annotated[Path | None, typer.Option(help="another run's folder: begin with its best weights")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of TrainConfig, e.g. epochs=50")
    ] = None,
) -> None:
    """Train on the features, validating after every epoch."""
    config = parse_settings(setting or [])
    torch.set_num_threads(threads)
    data = read_manifest(folder)
    store = _cache(folder, cache, data, seed)
    with _progress() as progress:
        task = progress.add_task("reading", total=len(data.split("train")) + len(data.split("valid")))
        loaded = load_data(store, config, passes, lambda: progress.advance(task))
        run = Run(out, config, loaded, device, start)
        (out / "data.json").write_text(json.dumps({"data": str(folder.resolve())}) + "\n")
        task = progress.add_task("epochs", total=config.epochs, completed=run.epoch)
        for epoch in run.epochs():
            progress.console.print(
                f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, validation ROC-AUC {epoch.roc_auc:.4f},"
                f" PR-AUC {epoch.pr_auc:.4f}, after 3 s {epoch.roc_auc_3s:.4f}, {epoch.seconds:.1f} s"
            )
            progress.update(task, completed=epoch.epoch)
    print(json.dumps({"best_epoch": run.best_epoch, "roc_auc": round(run.best, 4)}))


@app.command("evaluate")
def evaluate_command(
    model: Annotated[Path, typer.Argument(help="a model file")],
    folder: Folder,
    split: Annotated[str, typer.Option(help="of the data set")] = "valid",
    as_json: Annotated[bool, typer.Option("--json", help="figures as JSON on standard output")] = False,
) -> None:
    """Score a model file on the real audio of a split."""
    data = read_manifest(folder)
    result = _figures(load_tagger(model), data, split)[0]
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        _print_tables(result)


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    model: Annotated[Path, typer.Argument(help="the model file to write")],
    folder: Annotated[Path | None, typer.Option("--data", help="the data set; default: the one of the run")] = None,
    card: Annotated[Path | None, typer.Option(help="JSON with name, labels, licence for the model card")] = None,
    split: Annotated[str, typer.Option(help="for the thresholds and the card's figures")] = "valid",
    average: Annotated[
        list[Path] | None, typer.Option(help="a later run (--start RUN) whose last weights are averaged in; repeatable")
    ] = None,
) -> None:
    """Write the best epoch of a run as a model file, with thresholds and a card."""
    data = read_manifest(folder or Path(_read_json(run / "data.json")["data"]))
    words = _read_json(card) if card else {}
    tagger = export.build(run, data, ScatteringSpec(), words, average or [])
    result, whole = _figures(tagger, data, split)
    finished = export.finish(tagger, data, split, whole, result)
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        save_tagger(finished, model)
    except OSError as error:
        raise OutputError(f"{model}: cannot be written: {error}") from error
    _print_tables(result)


def parse_settings(pairs: list[str]) -> TrainConfig:
    """`NAME=VALUE` words as a TrainConfig. Raises SpecError for what is none."""
    kinds = {f.name: type(getattr(TrainConfig(), f.name)) for f in fields(TrainConfig)}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in kinds:
            raise SpecError(f"--set {pair}: not NAME=VALUE with one of: {', '.join(kinds)}")
        try:
            values[name] = kinds[name](text)
        except ValueError as error:
            raise SpecError(f"--set {pair}: {error}") from error
    return TrainConfig(**values)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise SpecError(f"{path}: not a JSON object")
    return found


def _figures(tagger: Tagger, data: Manifest, split: str) -> tuple[dict[str, Any], Array]:
    whole, early = [], []
    with _progress() as progress:
        task = progress.add_task("tagging", total=len(data.split(split)))
        for mean, soon in evaluate.predict(tagger, data, split):
            whole.append(mean)
            early.append(soon)
            progress.advance(task)
    predicted = np.stack(whole)
    return evaluate.report(data, split, predicted, np.stack(early)), predicted


def _print_tables(result: dict[str, Any]) -> None:
    console = Console()
    parts = Table(title=f"split {result['split']}: agreement with the targets")
    tags = Table(title="by tag")
    for table, head, rows in (
        (parts, "clips", result["parts"]),
        (tags, "tag", dict(sorted(result["tags"].items(), key=lambda item: -item[1]["positives"]))),
    ):
        names = list(next(iter(rows.values())))
        for name in (head, *names):
            table.add_column(name.replace("_", " "), justify="left" if name == head else "right", no_wrap=name == head)
        for name, row in rows.items():
            table.add_row(name, *("-" if row[key] is None else str(row[key]) for key in names))
        console.print(table)


def main() -> None:
    """Runs the command line; a user's mistake is one line on standard error and exit code 1."""
    try:
        app()
    except StreamtagError as error:
        print(f"trainer: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
