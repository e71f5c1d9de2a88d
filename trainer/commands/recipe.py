"""The command `recipe`: from recordings to a model file, by the other commands, one after the other.

OUT/labelled/            the labelled data set and its features
OUT/artists/             the artists that each fold leaves out
OUT/runs/base, fold-1, ... final
OUT/runs/mean-1, ...     each fold's model: the mean of the weights of the base and the fold
OUT/human.json           the folds' models against human tags, out of fold
OUT/model.safetensors    the final model with its card: the mean of base and final
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from trainer.commands import options

SPLIT = "valid"


@dataclass(frozen=True)
class ModelRecipe:
    """How a model is made. `base` and `tuning` are settings of the two stages, as `train --set` takes them.

    The base model learns from everything but the artists of the tracks with human tags. So one base serves the models
    of all folds, which continue with it and learn from all artists but their fold's, and the final one, which leaves
    out nobody. Each is then averaged with the base, which knows the other recordings better.
    """

    system: str
    passes: int
    crops: int
    base: tuple[str, ...]
    tuning: tuple[str, ...]


COMMON = ("batch=32", "warmup=20", "mixup=0.1", "gain_db=2", "ema=0.98", "modulation=0.7", "dropout=0.2")
RECIPES = {
    "shipped": ModelRecipe(
        options.SYSTEM,
        passes=5,
        crops=3,
        base=("epochs=30", "rate=1e-3", *COMMON),
        tuning=("epochs=1", "rate=3e-4", *COMMON, "batch=64"),  # longer or faster, the base forgets
    ),
}


def command(
    name: Annotated[str, typer.Argument(help=f"one of: {', '.join(RECIPES)}")],
    folders: Annotated[list[Path], typer.Argument(help="recordings, as `label` takes them; one has clips of `valid`")],
    teachers: Annotated[Path, typer.Option(help="the weights of the taggers that label the recordings")],
    tracks: Annotated[Path, typer.Option(help="a folder of tracks with human tags, as `human` takes it")],
    out: Annotated[Path, typer.Option(help="folder for everything, with model.safetensors at the end")],
    folds: Annotated[int, typer.Option(min=2, help="of the artists, for the out-of-fold score")] = 5,
    kind: Annotated[str, typer.Option(help="of the clips that are changed, and that choose the epoch")] = "real",
    setting: options.Settings = None,
    system: Annotated[str | None, typer.Option(help="another system than the recipe's")] = None,
    threads: options.Threads = options.CORES,
    device: options.Device = "auto",
    draws: options.Draws = 1000,
) -> None:
    """Make a model from recordings: labels, features, training, cross-validation by artist, model file and card.

    What is done is not done again; what was stopped goes on. The card reports the out-of-fold score of the folds'
    models against human tags, and the agreement of the final model with the taggers on the `valid` clips.
    """
    from streamtag.errors import SpecError
    from trainer.commands import export, human, label, prepare, train
    from trainer.files import write_json, write_lines
    from trainer.human.folds import artist_folds
    from trainer.human.tracks import read_tracks
    from trainer.run import BEST, save_average

    if name not in RECIPES:
        raise SpecError(f"no recipe {name!r}, only: {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    labelled, artists = out / "labelled", out / "artists"
    workers = threads if threads > 1 else 0
    label.command(
        folders, teachers=teachers, out=labelled, passes=recipe.passes, crops=recipe.crops, kind=[kind], workers=workers
    )
    prepare.command(labelled, passes=0, workers=workers)
    human.write_folds(tracks, artists, folds)
    everybody = artists / "all.txt"
    write_lines(everybody, sorted(artist_folds(read_tracks(tracks), folds)))

    def run(stage: str, start: str | None, leave_out: Path | None, settings: Sequence[str]) -> Path:
        folder = out / "runs" / stage
        print(f"{stage}:")
        train.command(
            labelled,
            out=folder,
            system=system or recipe.system,
            setting=[*settings, f"valid_kind={kind}", *(setting or [])],
            passes=0,
            device=device,
            threads=threads,
            start=start,
            leave_out=leave_out,
        )
        return folder

    base = run("base", None, everybody, recipe.base)
    fold_runs = []
    for number in range(1, folds + 1):
        tuned = run(f"fold-{number}", str(base), artists / f"fold-{number}.txt", recipe.tuning)
        fold_runs.append(out / "runs" / f"mean-{number}")
        if not (fold_runs[-1] / BEST).exists():
            save_average(fold_runs[-1], base, tuned)
    final = run("final", str(base), None, recipe.tuning)
    scores = out / "human.json"
    if not scores.exists():
        human.command(fold_runs, tracks, folds=True, out=scores, draws=draws, device=device, threads=threads)
    card = out / "card.json"
    write_json(card, _card(name, recipe, teachers, folders))
    model = out / "model.safetensors"
    export.command(base, model, folder=labelled, card=card, split=SPLIT, average=[final], tracks=tracks, fold=fold_runs)


def _card(name: str, recipe: ModelRecipe, teachers: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Return what the model card says beside the settings and the scores of the split."""
    from trainer.label.teachers import weights_digest

    return {
        "name": f"streamtag {name}",
        "labels": "predictions of public taggers for every clip, changed clips included",
        "recipe": name,
        "recordings": [folder.resolve().name for folder in folders],
        "teachers": weights_digest(teachers),
        "base": list(recipe.base),
    }
