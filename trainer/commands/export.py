"""`export`: a run becomes a model file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    model: Annotated[Path, typer.Argument(help="the model file to write")],
    folder: Annotated[Path | None, typer.Option("--data", help="the data set; default: the one of the run")] = None,
    card: Annotated[Path | None, typer.Option(help="JSON with name, labels, licence for the model card")] = None,
    split: Annotated[str, typer.Option(help="for the thresholds and the card's figures")] = "valid",
    average: Annotated[
        list[Path] | None, typer.Option(help="a later run (--start RUN) whose last weights are averaged in; repeatable")
    ] = None,
) -> None:
    """Write the best epoch of a run as a model file, with thresholds and a card.

    It hears the sound files of the split for that, as a user's files are heard.
    """
    from rich.console import Console

    from streamtag.errors import OutputError
    from streamtag.model.model_file import save_tagger
    from trainer import export
    from trainer.commands.tables import print_result
    from trainer.data.dataset import read_dataset
    from trainer.evaluate import figures
    from trainer.evaluate.evaluated_model import decodable, of_tagger

    data = decodable(read_dataset(folder or Path(_read_json(run / "data.json")["data"])))
    words = _read_json(card) if card else {}
    tagger = export.build(run, data, words, average or [])
    subject = of_tagger(tagger, data, model.stem)
    with Console(stderr=True).status("hearing the split") as status:
        result, heard = figures.evaluate(subject, data, split, figures.Options(minutes=()), status.update)
    finished = export.finish(tagger, data, heard.mean(), result)
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        save_tagger(finished, model)
    except OSError as error:
        raise OutputError(f"{model}: cannot be written: {error}") from error
    print_result(result)


def _read_json(path: Path) -> dict[str, Any]:
    from streamtag.errors import SpecError

    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise SpecError(f"{path}: not a JSON object")
    return found
