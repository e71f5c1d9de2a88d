"""`prepare`: the features of all clips."""

from __future__ import annotations

from typing import Annotated

import typer

from trainer.commands import options


def command(
    folder: options.Folder,
    cache: options.CacheFolder = None,
    passes: options.Passes = 8,
    seed: options.Seed = 1,
    workers: Annotated[int, typer.Option(min=0, help="processes; default: one a core")] = options.CORES,
) -> None:
    """Compute the features of all clips; goes on where it was stopped."""
    from streamtag.core import ScatteringSpec
    from trainer.commands.progress import progress_bar
    from trainer.features import Cache, prepare
    from trainer.manifest import read_dataset

    store = Cache(options.cache_folder(folder, cache), read_dataset(folder), ScatteringSpec(), seed)
    with progress_bar() as progress:
        task = progress.add_task("features", total=None)
        for done, total in prepare(store, passes, workers):
            progress.update(task, completed=done, total=total)
