"""The commands `folds` and `human`: artists that a model leaves out, and models against the human tags of tracks."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainer.commands import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from trainer.evaluate.predictions import Predictions
    from trainer.human.tracks import TrackFolder

Tracks = Annotated[
    Path,
    typer.Option("--tracks", help="a folder with tracks.csv, human_tags.csv and audio/: see trainer/human/tracks.py"),
]
FoldSeed = Annotated[int, typer.Option(help="of the division of artists into folds; the same for `folds` and `human`")]


def command(
    models: Annotated[list[Path], typer.Argument(help="folders of runs, or model files")],
    tracks: Tracks,
    folds: Annotated[
        bool, typer.Option("--folds", help="the models are those of the folds, in order: one out-of-fold score")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="file for the figures, as JSON")] = None,
    seed: FoldSeed = 1,
    draws: options.Draws = 1000,
    device: options.Device = "auto",
    threads: options.Threads = options.CORES,
    as_json: options.AsJson = False,
) -> None:
    """Score models against the human tags of tracks, each heard from its start to its end as one stream.

    A score says nothing about a model that has learned from the same artists. With --folds, each model predicts the
    tracks of the artists that it left out (`train --leave-out`, with the files that `folds` writes).
    """
    import torch

    from trainer.commands.tables import print_human
    from trainer.files import write_json
    from trainer.human.tracks import read_tracks
    from trainer.train.device import open_device

    torch.set_num_threads(threads)
    folder = read_tracks(tracks)
    place = open_device(device)
    if folds:
        results = [out_of_fold(models, folder, seed, place, draws)[0]]
    else:
        results = list(_each(models, folder.tagged(), place, draws))
    if out:
        write_json(out, {"models": results})
    print(json.dumps(results, indent=1)) if as_json else print_human(results)


def write_folds(
    tracks: Tracks,
    out: Annotated[Path, typer.Option(help="folder for fold-1.txt, fold-2.txt, ...")],
    count: Annotated[int, typer.Option("--folds", min=2, help="how many")] = 5,
    seed: FoldSeed = 1,
) -> None:
    """Divide the artists of tracks into folds, and write for each the artists that its model must leave out."""
    from trainer.files import write_lines
    from trainer.human.folds import artist_folds, artists_of
    from trainer.human.tracks import read_tracks

    folder = read_tracks(tracks)
    fold_of = artist_folds(folder, count, seed)
    for fold in range(count):
        names = artists_of(fold_of, fold)
        file = out / f"fold-{fold + 1}.txt"
        write_lines(file, names)
        own = [track for track in folder.tracks if fold_of[track.artist] == fold]
        tagged = sum(track.clips > 0 for track in own)
        print(f"{file}: {len(names)} artists, {len(own)} tracks, {tagged} of them with human tags")


def _each(models: Sequence[Path], folder: TrackFolder, device: torch.device, draws: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of every model on all tracks."""
    from trainer.commands.tables import progress_bar
    from trainer.human.figures import TrackScores, evaluate
    from trainer.human.predictions import open_sound_model, predict_tracks

    opened = [open_sound_model(model, device) for model in models]
    with progress_bar() as progress:
        for model in opened:
            task = progress.add_task(model.name, total=len(folder))
            predictions = predict_tracks(model, folder.tracks, partial(progress.advance, task))
            yield {"model": model.name, **evaluate(TrackScores.of(model.tags, predictions), folder, draws)}


def out_of_fold(
    files: Sequence[Path], folder: TrackFolder, seed: int, device: torch.device, draws: int
) -> tuple[dict[str, Any], Predictions]:
    """Return the figures of one model a fold, each on the tracks of its fold, and their predictions."""
    from trainer.commands.tables import progress_bar
    from trainer.human.figures import TrackScores, evaluate
    from trainer.human.predictions import open_folds, predict_out_of_fold

    models, tagged = open_folds(files, folder, seed, device), folder.tagged()
    with progress_bar() as progress:
        task = progress.add_task("out of fold", total=len(tagged))
        predictions = predict_out_of_fold(models, folder, seed, partial(progress.advance, task))
    about = {"model": "out of fold", "folds": [model.name for model in models], "seed": seed}
    checked = {"left_out_checked": all(file.is_dir() for file in files)}
    return {**about, **checked, **evaluate(TrackScores.of(models[0].tags, predictions), tagged, draws)}, predictions
