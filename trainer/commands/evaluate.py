"""`evaluate`: the scores of a run or of a model file, as a table, as JSON, as a report."""

from __future__ import annotations

import json
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
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    draws: Annotated[int, typer.Option(min=1, help="of artists, for the intervals")] = 1000,
    minutes: Annotated[int, typer.Option(min=0, help="of an endless stream; 0 leaves it out")] = 60,
    streams: Annotated[int, typer.Option(min=1, help="that play it")] = 64,
    as_json: options.AsJson = False,
) -> None:
    """Score a run on the features of a split, or a model file on its sound.

    The scores of the clips with intervals by artist, and as they are heard: by the seconds heard, after a change of
    song, in an endless stream.
    """
    from rich.console import Console

    from trainer.commands.tables import print_result
    from trainer.data.dataset import read_dataset
    from trainer.evaluate import figures
    from trainer.evaluate.evaluated_model import open_model
    from trainer.report import document
    from trainer.train.distributed import open_device

    data = read_dataset(folder)
    store = options.cache_folder(folder, cache)
    subject, data = open_model(what, data, store, seed, open_device(device))
    wanted = figures.Options.up_to(minutes, draws, streams)
    with Console(stderr=True).status("evaluating") as status:
        result, _ = figures.evaluate(subject, data, split or figures.final_split(data), wanted, status.update)
    if out:
        document.write([result], out, f"{result['name']} on {result['data']}")
    print(json.dumps(result, indent=1)) if as_json else print_result(result)
