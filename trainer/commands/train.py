"""The command `train`: one run of one system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.commands import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import Progress

    from trainer.data.manifest import Manifest
    from trainer.train.log import Epoch
    from trainer.train.loop import Run


def command(
    folder: options.Folder,
    out: Annotated[Path, typer.Option(help="folder of the run; an interrupted run goes on")],
    system: Annotated[
        str | None,
        typer.Option(
            help="one that `systems` lists, or of another size: Scat-2L-128H-GRU; default: that of --start, or"
            f" {options.SYSTEM}"
        ),
    ] = None,
    recipe: options.Recipe = "best",
    setting: options.Settings = None,
    cache: options.CacheFolder = None,
    passes: Annotated[int | None, typer.Option(min=0, max=99, help="augmented passes; default: all prepared")] = None,
    seed: options.Seed = 1,
    device: options.Device = "auto",
    threads: options.Threads = options.CORES,
    start: Annotated[
        str | None,
        typer.Option(help="begin with weights and normalization of a run or model file, of `shipped` or `small`"),
    ] = None,
    leave_out: Annotated[
        Path | None, typer.Option(help="file with one artist a line: learn nothing from them (see `folds`)")
    ] = None,
    tracks: Annotated[
        Path | None,
        typer.Option(help="tracks with human tags, as `human` takes them: learn from these, too (--set human_loss=1)"),
    ] = None,
) -> None:
    """Train on the features, validating after every epoch. DIR may be a file of `prepare --pack`.

    A GRU may --start with one that has fewer layers of its width; the further ones begin as almost the identity.

    Several GPUs or machines: `torchrun --nproc-per-node 4 -m -- trainer train ...`, with RUN in a folder that all see.
    Without the `--` torchrun may take `--start` for its own `--start-method`.
    """
    import torch

    from streamtag.api import INCLUDED_MODELS
    from streamtag.errors import SpecError
    from trainer.commands.tables import progress_bar
    from trainer.data.dataset import read_dataset
    from trainer.data.manifest import TRAIN
    from trainer.features.cache import Cache
    from trainer.human.folds import check_left_out, read_artists
    from trainer.human.tracks import read_tracks
    from trainer.run import SOURCE, DataSource
    from trainer.start import check_start, deepened, is_deeper, load_start
    from trainer.train.config import with_settings
    from trainer.train.dataset import FeatureSource, load_data
    from trainer.train.device import fallback_note, open_device
    from trainer.train.distributed import distributed_group
    from trainer.train.loop import Run
    from trainer.train.packed import PackedFeatures
    from trainer.train.recipes import recipe as recipe_of

    torch.set_num_threads(threads)
    place = open_device(device)
    begin = load_start(start) if start else None
    system = system or (begin.config.system if begin else options.SYSTEM)
    config = with_settings(recipe_of(recipe, system), setting or [])
    if begin and is_deeper(config.plan, begin.system):
        begin = deepened(begin, config.system)
    store: FeatureSource
    if folder.is_file():
        store = PackedFeatures(folder)
        if config.plan.front != store.front.name:
            raise SpecError(
                f"{folder}: holds {store.front.name} features, and {config.system} reads {config.plan.front}"
            )
    else:
        store = Cache(options.cache_folder(folder, cache), read_dataset(folder), config.plan.front, seed)
    passes = store.complete_passes() if passes is None else passes
    left_out = read_artists(leave_out) if leave_out else []
    if start and begin:
        check_left_out(Path(start), left_out)
        check_start(start, begin, config, store.manifest.tags)
    origin = str(Path(start).resolve()) if start and start not in INCLUDED_MODELS else start
    people = str(tracks.resolve()) if tracks else None
    source = DataSource(str(folder.resolve()), config.plan.front, seed, passes, origin, left_out, people)
    progress = progress_bar()
    with distributed_group(place) as group:
        source.check(out)
        if group.is_first and not (out / SOURCE).exists():
            source.write(out)
        progress.disable = not group.is_first  # before it starts: disabled later, its thread would never end
        with progress:
            if group.is_first and (note := fallback_note(config.precision, place)):
                progress.console.print(note)
            human = read_tracks(tracks) if tracks else None
            task = progress.add_task("reading", total=len(store.manifest.split(TRAIN)), visible=begin is None)
            data = load_data(store, config, passes, lambda: progress.advance(task), begin, left_out, human)
            for line in _describe_left_out(left_out, store.manifest):
                progress.console.print(line)
            best_epoch, best = _train(Run(out, config, data, place, begin, group), progress)
        if group.is_first:
            print(json.dumps({"best_epoch": best_epoch, "roc_auc": round(best, 4)}))


def _describe_left_out(artists: Sequence[str], manifest: Manifest) -> Iterator[str]:
    """Say how many clips are left out, so that a misspelt artist is noticed."""
    if artists:
        left_out = [clip for clip in manifest.clips if clip.is_by(artists)]
        found = len({clip.artist for clip in left_out} & set(artists))
        yield f"left out: {len(left_out):,} clips by {found:,} of {len(artists):,} artists"


def _train(run: Run, progress: Progress) -> tuple[int, float]:
    """Finish the run, and return its best epoch and ROC-AUC. The caller must not keep it: see `distributed_group`."""
    total = run.config.epochs * run.batches.steps()
    task = progress.add_task(run.config.system, total=total, completed=run.step)
    for epoch in run.epochs(lambda: progress.update(task, completed=run.step)):
        if run.group.is_first:
            progress.console.print(_line(epoch))
    return run.best_epoch, run.best


def _line(epoch: Epoch) -> str:
    return (
        f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, validation ROC-AUC {epoch.roc_auc:.4f},"
        f" PR-AUC {epoch.pr_auc:.4f}, after 3 s {epoch.roc_auc_3s:.4f}, {epoch.seconds:.1f} s"
    )
