"""The commands `evaluate` and `report`: the scores of a run or model file, and several evaluations on one page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from trainer.commands import options


def command(
    what: Annotated[Path, typer.Argument(help="folder of a run, or a model file")],
    folder: options.Folder,
    split: Annotated[
        str | None, typer.Option(help="of the data set; default: test, or valid if there is no test")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the report: HTML, Markdown, plots, figures")] = None,
    cache: options.CacheFolder = None,
    seed: options.Seed = 1,
    device: options.Device = "auto",
    draws: options.Draws = 1000,
    minutes: options.Minutes = 60,
    pooling: Annotated[
        str | None, typer.Option(help="of frames to a clip's score: mean, last or learned; default: the run's")
    ] = None,
    streams: Annotated[int, typer.Option(min=1, help="that play it")] = 64,
    as_json: options.AsJson = False,
) -> None:
    """Score a run on the features of a split, or a model file on its sound.

    The scores of the clips with intervals by artist, and as they are heard: by the seconds heard, after a change of
    song, in an endless stream.
    """
    from rich.console import Console

    from streamtag.errors import SpecError
    from trainer.commands.tables import print_result
    from trainer.data.dataset import read_dataset
    from trainer.evaluate import figures
    from trainer.evaluate.evaluated_model import open_model
    from trainer.evaluate.pooling import POOLINGS
    from trainer.report import document
    from trainer.train.device import open_device

    data = read_dataset(folder)
    model, data = open_model(what, data, options.cache_folder(folder, cache), seed, open_device(device))
    chosen = pooling or model.info.get("training", {}).get("pooling", "mean")
    if chosen not in POOLINGS:
        raise SpecError(f"--pooling must be one of {', '.join(POOLINGS)}, not {chosen!r}")
    measured = replace(figures.Options.up_to(minutes, draws, streams), pooling=chosen)
    with Console(stderr=True).status("evaluating") as status:
        result, _ = figures.evaluate(model, data, split or figures.final_split(data), measured, status.update)
    if out:
        document.write([result], out, f"{result['name']} on {result['data']}")
    print(json.dumps(result, indent=1)) if as_json else print_result(result)


def report(
    folders: Annotated[list[Path], typer.Argument(help="folders that `evaluate --out` wrote")],
    out: Annotated[Path, typer.Option(help="folder for the report: HTML, Markdown, plots, figures")],
    title: Annotated[str, typer.Option(help="its first line")] = "Music tagging systems",
) -> None:
    """Set several evaluations beside each other, the paper's and other published scores, in one report."""
    from streamtag.errors import ManifestError
    from trainer.report import document

    results = [result for folder in folders for result in document.read(folder)]
    splits = {(result["data"], result["split"]) for result in results}
    if len(splits) > 1:
        names = ", ".join(sorted(f"{data} {split}" for data, split in splits))
        raise ManifestError(f"these are of different clips and do not belong in one table: {names}")
    document.write(results, out, title)
    print(out / "report.html")
