"""`evaluate`: the scores of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trainer.commands import options


def command(
    model: Annotated[Path, typer.Argument(help="a model file")],
    folder: options.Folder,
    split: Annotated[str, typer.Option(help="of the data set")] = "valid",
    as_json: options.AsJson = False,
) -> None:
    """Score a model file on the real audio of a split."""
    from streamtag.core.model_file import load_tagger
    from trainer.commands.figures import figures, print_tables
    from trainer.manifest import read_dataset

    data = read_dataset(folder)
    result = figures(load_tagger(model), data, split)[0]
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        print_tables(result)
