"""The commands `folds` and `human`: artists that a model leaves out, and models against the human tags of tracks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainer.commands import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.human.figures import TrackScores
    from trainer.human.predictions import SoundModel
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
    from trainer.files import report_write_errors, write_json
    from trainer.human.predictions import open_sound_model
    from trainer.human.tracks import read_tracks
    from trainer.train.device import open_device

    torch.set_num_threads(threads)
    folder = read_tracks(tracks)
    opened = [open_sound_model(model, open_device(device)) for model in models]
    results = [_out_of_fold(models, opened, folder, seed, draws)] if folds else _each(opened, folder.tagged(), draws)
    if out:
        with report_write_errors(out):
            write_json(out, {"models": results})
    print(json.dumps(results, indent=1)) if as_json else print_human(results)


def write_folds(
    tracks: Tracks,
    out: Annotated[Path, typer.Option(help="folder for fold-1.txt, fold-2.txt, ...")],
    count: Annotated[int, typer.Option("--folds", min=2, help="how many")] = 5,
    seed: FoldSeed = 1,
) -> None:
    """Divide the artists of tracks into folds, and write for each the artists that its model must leave out."""
    from trainer.files import report_write_errors, write_atomically
    from trainer.human.folds import artist_folds, artists_of
    from trainer.human.tracks import read_tracks

    folder = read_tracks(tracks)
    fold_of = artist_folds(folder, count, seed)
    for fold in range(count):
        names = artists_of(fold_of, fold)
        file = out / f"fold-{fold + 1}.txt"
        with report_write_errors(file):
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(file, "".join(f"{name}\n" for name in names).encode())
        own = [track for track in folder.tracks if fold_of[track.artist] == fold]
        tagged = sum(track.clips > 0 for track in own)
        print(f"{file}: {len(names)} artists, {len(own)} tracks, {tagged} of them with human tags")


def _each(models: Sequence[SoundModel], folder: TrackFolder, draws: int) -> list[dict[str, Any]]:
    """Return the figures of every model on all tracks."""
    from trainer.human.figures import evaluate

    places = [list(range(len(folder)))] * len(models)
    scores = _predict(models, folder, places)
    return [{"model": m.name, **evaluate(s, folder, draws)} for m, s in zip(models, scores, strict=True)]


def _out_of_fold(
    files: Sequence[Path], models: Sequence[SoundModel], folder: TrackFolder, seed: int, draws: int
) -> dict[str, Any]:
    """Return the figures of one model a fold, each on the tracks of its fold."""
    import numpy as np

    from streamtag.errors import ManifestError
    from trainer.human.figures import TrackScores, evaluate
    from trainer.human.folds import artist_folds, artists_of, check_left_out

    fold_of = artist_folds(folder, len(models), seed)
    if len({model.tags for model in models}) > 1:
        raise ManifestError("--folds: the models have different tags")
    runs = [(fold, file) for fold, file in enumerate(files) if file.is_dir()]
    for fold, run in runs:
        check_left_out(run, artists_of(fold_of, fold))
    folder = folder.tagged()
    places = [[i for i, artist in enumerate(folder.artists) if fold_of[artist] == fold] for fold in range(len(models))]
    used = [fold for fold, place in enumerate(places) if place]  # a fold may have no track with human tags
    parts = _predict([models[fold] for fold in used], folder, [places[fold] for fold in used])
    scores = TrackScores.out_of_fold(parts, [np.array(places[fold]) for fold in used])
    names = [model.name for model in models]
    about = {"model": "out of fold", "folds": names, "seed": seed, "left_out_checked": len(runs) == len(models)}
    return {**about, **evaluate(scores, folder, draws)}


def _predict(models: Sequence[SoundModel], folder: TrackFolder, places: Sequence[Sequence[int]]) -> list[TrackScores]:
    """Return each model's scores of its tracks."""
    from functools import partial

    from trainer.commands.tables import progress_bar
    from trainer.human.figures import TrackScores
    from trainer.human.predictions import predict_tracks

    scores = []
    with progress_bar() as progress:
        for model, place in zip(models, places, strict=True):
            task = progress.add_task(model.name, total=len(place))
            own = [folder.tracks[i] for i in place]
            predictions = predict_tracks(model, own, partial(progress.advance, task))
            scores.append(TrackScores.of(model.tags, predictions))
    return scores
