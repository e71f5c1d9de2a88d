"""The command `recipe`: from recordings to a model file, by the other commands, one after the other.

OUT/labelled/            the labelled data set and its features
OUT/artists/             the artists that each fold leaves out
OUT/runs/base-1, ...     the runs of the stages of the base; fold-1-1, ... and final-1, ... those of the tuning
OUT/human.json           the folds' models against human tags, out of fold
OUT/model.safetensors    the final model with its card
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
class Stage:
    """A run that begins with the weights of the stage before it. `settings`: as `train --set` takes them."""

    system: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class ModelRecipe:
    """How a model is made: the stages of `base`, then those of `tuning`, each with the weights of the one before.

    A deep network begins as a shallow one, to which a later stage adds layers. The base model learns from everything
    but the artists of the tracks with human tags. So one base serves the models of all folds, whose tuning learns from
    all artists but their fold's, and the final one, which leaves out nobody.
    """

    passes: int
    crops: int
    base: tuple[Stage, ...]
    tuning: tuple[Stage, ...]


COMMON = ("batch=64", "gain_db=2", "modulation=0.7", "keep=last")  # the validation clips report, they do not choose
# The taggers' labels are those of the audio, not of features that are hidden or noisy: without both, agreement rises.
PLAIN = ("mixup=0", "dropout=0", "input_dropout=0", "noise=0", "time_masks=0", "path_masks=0")
BASE = (*COMMON, "ema=0.99", "ramp_from=0.4", "ramp_s=2.5")
NEW = (*BASE, "mixup=0.1", "dropout=0.1", "epochs=12", "warmup=100")  # from new weights
LONGER = (*BASE, *PLAIN, "epochs=6", "warmup=10")
TUNING = (*COMMON, *PLAIN, "ema=0.98", "ramp_from=1.0")
TUNED = (*TUNING, "epochs=4", "warmup=10")
DEEPENED = (*TUNING, "epochs=1", "warmup=20")
RECIPES = {
    "shipped": ModelRecipe(
        passes=5,
        crops=3,
        base=(
            Stage("Scat-2L-512H-GRU", (*NEW, "rate=1.5e-3")),
            Stage("Scat-2L-512H-GRU", (*LONGER, "rate=1e-3")),
        ),
        tuning=(
            Stage("Scat-2L-512H-GRU", (*TUNED, "rate=1e-3")),
            Stage("Scat-5L-512H-GRU", (*DEEPENED, "rate=5e-4")),
        ),
    ),
    "small": ModelRecipe(
        passes=5,
        crops=3,
        base=(
            Stage("Scat-2L-256H-GRU", (*NEW, "rate=2e-3")),
            Stage("Scat-2L-256H-GRU", (*LONGER, "rate=1.5e-3")),
        ),
        tuning=(Stage("Scat-2L-256H-GRU", (*TUNED, "rate=1.5e-3")),),
    ),
}


def command(
    name: Annotated[str, typer.Argument(help=f"one of: {', '.join(RECIPES)}")],
    folders: Annotated[list[Path], typer.Argument(help="recordings, as `label` takes them; one has clips of `valid`")],
    teachers: Annotated[Path, typer.Option(help="the weights of the taggers that label the recordings")],
    tracks: Annotated[Path, typer.Option(help="a folder of tracks with human tags, as `human` takes it")],
    out: Annotated[Path, typer.Option(help="folder for everything, with model.safetensors at the end")],
    folds: Annotated[int, typer.Option(min=2, help="of the artists, for the out-of-fold score")] = 5,
    kind: Annotated[str, typer.Option(help="of the clips that are changed, and that validate")] = "real",
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

    def run(part: str, stages: Sequence[Stage], start: Path | None, leave_out: Path | None) -> Path:
        """Train one stage after the other, and return the folder of the last run."""
        runs = [out / "runs" / f"{part}-{number}" for number in range(1, len(stages) + 1)]
        for folder, stage, begin in zip(runs, stages, (start, *runs), strict=False):
            print(f"{folder.name}:")
            train.command(
                labelled,
                out=folder,
                system=system or stage.system,
                setting=[*stage.settings, f"valid_kind={kind}", *(setting or [])],
                passes=0,
                device=device,
                threads=threads,
                start=str(begin) if begin else None,
                leave_out=leave_out,
            )
        return runs[-1]

    base = run("base", recipe.base, None, everybody)
    names = [f"fold-{number}" for number in range(1, folds + 1)]
    fold_runs = [run(name, recipe.tuning, base, artists / f"{name}.txt") for name in names]
    final = run("final", recipe.tuning, base, None)
    scores = out / "human.json"
    if not scores.exists():
        human.command(fold_runs, tracks, folds=True, out=scores, draws=draws, device=device, threads=threads)
    card = out / "card.json"
    write_json(card, _card(name, recipe, teachers, folders))
    model = out / "model.safetensors"
    export.command(final, model, folder=labelled, card=card, split=SPLIT, tracks=tracks, fold=fold_runs)


def _card(name: str, recipe: ModelRecipe, teachers: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Return what the model card says beside the settings and the scores of the split."""
    from trainer.label.teachers import weights_digest

    return {
        "name": f"streamtag {name}",
        "labels": "predictions of public taggers for every clip, changed clips included",
        "recipe": name,
        "recordings": [folder.resolve().name for folder in folders],
        "teachers": weights_digest(teachers),
        "base": [[stage.system, *stage.settings] for stage in recipe.base],
        "tuning": [[stage.system, *stage.settings] for stage in recipe.tuning],
    }
