"""The command `export`: a run becomes a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streamtag.model import TaggerNetwork
    from trainer.concepts.evidence import Evidence


def command(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    model: Annotated[Path, typer.Argument(help="the model file to write")],
    folder: Annotated[Path | None, typer.Option("--data", help="the data set; default: the one of the run")] = None,
    card: Annotated[Path | None, typer.Option(help="JSON with name, labels, licence for the model card")] = None,
    split: Annotated[str, typer.Option(help="for the thresholds and the card's figures")] = "valid",
    average: Annotated[
        list[Path] | None, typer.Option(help="a later run (--start RUN) whose last weights are averaged in; repeatable")
    ] = None,
    tracks: Annotated[
        Path | None, typer.Option(help="a folder of tracks with human tags, which calibrate the concepts, too")
    ] = None,
    fold: Annotated[
        list[Path] | None, typer.Option(help="with --tracks: the run of a fold, in order (see `human`); repeatable")
    ] = None,
    fold_seed: Annotated[int, typer.Option(help="of the division of artists into folds")] = 1,
) -> None:
    """Write the best epoch of a run as a model file, with thresholds, calibrated concepts and a card.

    It hears the sound files of the split for that, as a user's files are heard. With --tracks and --fold, people's tags
    count, too: as the runs predict them that left out a track's artist.
    """
    from rich.console import Console

    from streamtag.errors import ManifestError, SpecError
    from streamtag.model.model_file import save_tagger
    from trainer import export
    from trainer.commands.tables import print_concepts, print_result
    from trainer.data.dataset import read_dataset
    from trainer.evaluate import figures
    from trainer.evaluate.evaluated_model import decodable, from_tagger
    from trainer.files import read_json, report_write_errors
    from trainer.run import SOURCE

    if bool(tracks) != bool(fold):
        raise SpecError("export: --tracks needs one --fold RUN for each fold, and --fold needs --tracks")
    data = decodable(read_dataset(folder or Path(read_json(run / SOURCE, ManifestError)["data"])))
    words = read_json(card, ManifestError) if card else {}
    tagger = export.build(run, data, words, average or [])
    evaluated = from_tagger(tagger, data, model.stem)
    with Console(stderr=True).status("hearing the split") as status:
        result, predictions = figures.evaluate(evaluated, data, split, figures.Options(minutes=()), status.update)
    human, people = _hear_tracks(tagger, tracks, fold or [], fold_seed) if tracks else (None, None)
    fits = export.fit(tagger, data, split, predictions, people)
    finished = export.finish(tagger, data, predictions.mean(), result, fits, human)
    with report_write_errors(model):
        model.parent.mkdir(parents=True, exist_ok=True)
        save_tagger(finished, model)
    print_result(result)
    print_concepts(fits)


def _hear_tracks(tagger: TaggerNetwork, tracks: Path, folds: list[Path], seed: int) -> tuple[dict[str, Any], Evidence]:
    """Return the figures against people's tags, out of fold, and the evidence in them."""
    import torch

    from streamtag.errors import ManifestError
    from trainer.commands.human import out_of_fold
    from trainer.concepts.evidence import from_people
    from trainer.concepts.table import concepts_of
    from trainer.evaluate.bootstrap import DRAWS
    from trainer.human.predictions import open_sound_model
    from trainer.human.tracks import read_tracks

    folder = read_tracks(tracks)
    if open_sound_model(folds[0], torch.device("cpu")).tags != tagger.tags:
        raise ManifestError(f"{folds[0]}: its tags are not those of the model")
    figures, predictions = out_of_fold(folds, folder, seed, torch.device("cpu"), DRAWS)
    return figures, from_people(predictions, folder.tagged(), concepts_of(tagger.tags))
