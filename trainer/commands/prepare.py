"""`prepare`: the features of all clips."""

from __future__ import annotations

from typing import Annotated

import typer

from trainer.commands import options


def command(
    folder: options.Folder,
    cache: options.CacheFolder = None,
    front: Annotated[
        list[str] | None, typer.Option(help="scattering, mel or cqt; repeatable  [default: scattering]")
    ] = None,
    passes: options.Passes = 8,
    seed: options.Seed = 1,
    workers: Annotated[int, typer.Option(min=0, help="processes; default: one a core")] = options.CORES,
    device: Annotated[str, typer.Option(help="cpu, or cuda for the transform; the processes decode")] = "cpu",
) -> None:
    """Compute the features of all clips; goes on where it was stopped.

    Clips that do not decode are left out and listed, here and in the cache.
    """
    from trainer.commands.progress import progress_bar
    from trainer.extraction import prepare
    from trainer.features import Cache
    from trainer.fronts import front_end
    from trainer.manifest import read_dataset

    names = [front_end(name).name for name in front or ["scattering"]]
    data = read_dataset(folder)
    with progress_bar() as progress:
        say = progress.console.print
        for line in (data.about, *data.notes):
            say(line, markup=False, highlight=False, soft_wrap=True)
        for name in names:
            store = Cache(options.cache_folder(folder, cache), data, name, seed)
            task = progress.add_task(name, total=None)
            for done, total in prepare(store, passes, workers, device):
                progress.update(task, completed=done, total=total)
            for clip_id, problem in store.dropped.items():
                say(f"left out: {clip_id}: {problem}", markup=False, highlight=False, soft_wrap=True)
            frames = sum(stop - start for start, stop in store.frames(0).spans.values())
            say(
                f"{store.folder}: {len(store.manifest.clips):,} clips, {frames:,} frames of {store.front.size},"
                f" {store.passes()} augmented passes",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
