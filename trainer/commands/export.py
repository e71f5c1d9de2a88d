"""The command `export`: a run becomes a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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

    from streamtag.errors import SpecError
    from streamtag.model.model_file import save_tagger
    from trainer import export
    from trainer.commands.tables import print_result
    from trainer.data.dataset import read_dataset
    from trainer.evaluate import figures
    from trainer.evaluate.evaluated_model import decodable, from_tagger
    from trainer.files import read_json, report_write_errors
    from trainer.run import SOURCE

    data = decodable(read_dataset(folder or Path(read_json(run / SOURCE, SpecError)["data"])))
    words = read_json(card, SpecError) if card else {}
    tagger = export.build(run, data, words, average or [])
    evaluated = from_tagger(tagger, data, model.stem)
    with Console(stderr=True).status("hearing the split") as status:
        result, predictions = figures.evaluate(evaluated, data, split, figures.Options(minutes=()), status.update)
    finished = export.finish(tagger, data, predictions.mean(), result)
    with report_write_errors(model):
        model.parent.mkdir(parents=True, exist_ok=True)
        save_tagger(finished, model)
    print_result(result)
