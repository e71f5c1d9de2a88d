"""The command `prepare`: the features of all clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.commands import options

if TYPE_CHECKING:
    from trainer.features.cache import Cache
    from trainer.train.packed import PackResult


def command(
    folder: options.Folder,
    cache: options.CacheFolder = None,
    front: Annotated[
        list[str] | None, typer.Option(help="scattering, mel or cqt; repeatable  [default: scattering]")
    ] = None,
    passes: Annotated[int, typer.Option(min=0, max=99, help="augmented passes over the training clips")] = 0,
    seed: options.Seed = 1,
    workers: options.Workers = options.CORES,
    device: Annotated[str, typer.Option(help="cpu, or cuda for the transform; the processes decode")] = "cpu",
    packed: Annotated[
        Path | None,
        typer.Option(
            "--pack",
            help="also write scattering features, 8 bits a value, of as many clips as 40 MB hold into this file, to"
            " `train` on it elsewhere",
        ),
    ] = None,
) -> None:
    """Compute the features of all clips; goes on where it was stopped.

    Clips that do not decode are left out and listed, here and in the cache.
    """
    from streamtag.errors import SpecError
    from trainer.commands.tables import progress_bar
    from trainer.data.dataset import read_dataset
    from trainer.features.cache import Cache
    from trainer.features.extraction import prepare
    from trainer.features.frontends import frontend

    names = [frontend(name).name for name in front or ["scattering"]]
    if packed and "scattering" not in names:
        raise SpecError(f"--pack {packed}: only scattering features can be packed")
    data = read_dataset(folder)
    with progress_bar() as progress:

        def show(line: str) -> None:
            progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        for line in (data.description, *data.notes):
            show(line)
        for name in names:
            store = Cache(options.cache_folder(folder, cache), data, name, seed)
            task = progress.add_task(name, total=None)
            for done, total in prepare(store, passes, workers, device):
                progress.update(task, completed=done, total=total)
            for line in _summary(store):
                show(line)
            if packed and name == "scattering":
                from trainer.train.packed import pack  # late: torch

                show(_describe_pack(packed, pack(store, packed)))


def _describe_pack(file: Path, result: PackResult) -> str:
    return (
        f"{file}: {result.clips:,} of {result.available:,} clips, {result.size / 1e6:.1f} MB; error"
        f" {result.error_rms:.3f} standard deviations of a feature (root mean square), at most {result.error_max:.3f}"
    )


def _summary(cache: Cache) -> Iterator[str]:
    """Describe a cache, and name clips that were left out or are unusually short, which may be damaged."""
    for clip_id, problem in cache.dropped.items():
        yield f"left out: {clip_id}: {problem}"
    lengths = {clip_id: stop - start for clip_id, (start, stop) in cache.frames(0).spans.items()}
    usual = median(lengths.values())
    for clip_id, frames in lengths.items():
        if frames < usual / 2:
            yield f"warning: {clip_id} is short: {frames} frames, where half of the clips have {usual:g} or more"
    frames = sum(lengths.values())
    yield (
        f"{cache.folder}: {len(lengths):,} clips, {frames:,} frames of {cache.front.size},"
        f" {cache.complete_passes()} augmented passes"
    )
