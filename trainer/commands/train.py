"""`train`: one run of one system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trainer.commands import options

SYSTEM, RECIPE = "Scat-5L-512H-GRU", "best"


def command(
    folder: options.Folder,
    out: Annotated[Path, typer.Option(help="folder of the run; an interrupted run goes on")],
    system: Annotated[
        str, typer.Option(help="one that `systems` lists, or of another size: Scat-2L-128H-GRU")
    ] = SYSTEM,
    recipe: Annotated[str, typer.Option(help="paper: as printed; best: ours")] = RECIPE,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE in place of the recipe's, e.g. epochs=50; repeatable")
    ] = None,
    cache: options.CacheFolder = None,
    passes: Annotated[int | None, typer.Option(min=0, max=99, help="augmented passes; default: all prepared")] = None,
    seed: options.Seed = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    threads: options.Threads = options.CORES,
    start: Annotated[Path | None, typer.Option(help="another run's folder: begin with its best weights")] = None,
) -> None:
    """Train on the features, validating after every epoch.

    Several GPUs or machines: `torchrun --nproc-per-node 4 -m trainer train ...`, with RUN in a folder that all see.
    """
    from trainer.commands.training import TrainRequest, run
    from trainer.train.config import with_settings
    from trainer.train.recipes import recipe as recipe_of

    config = with_settings(recipe_of(recipe, system), setting or [])
    run(TrainRequest(folder, options.cache_folder(folder, cache), seed, passes, out, config, device, threads, start))
