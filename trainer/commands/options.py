"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamtag.text import usable_cores

CORES = usable_cores()

Folder = Annotated[Path, typer.Argument(help="the data set: a folder as described by `python -m trainer --help`")]
CacheFolder = Annotated[Path | None, typer.Option("--cache", help="feature cache; default: DIR/features")]
Passes = Annotated[int, typer.Option(min=0, max=99, help="augmented passes over the training clips")]
Seed = Annotated[int, typer.Option(help="of the cache's augmentation")]
Threads = Annotated[int, typer.Option(min=1, help="default: one a core")]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON on standard output")]


def cache_folder(folder: Path, cache: Path | None) -> Path:
    """Where the features of a data set lie."""
    return cache or folder / "features"
