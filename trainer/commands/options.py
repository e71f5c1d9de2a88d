"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamtag.errors import SpecError
from streamtag.text import usable_cores

CORES = usable_cores()
SYSTEM = "Scat-5L-512H-GRU"

Folder = Annotated[Path, typer.Argument(help="the data set: a folder as described by `python -m trainer --help`")]
CacheFolder = Annotated[Path | None, typer.Option("--cache", help="feature cache; default: DIR/features")]
Seed = Annotated[int, typer.Option(help="of the cache's augmentation")]
Threads = Annotated[int, typer.Option(min=1, show_default=False, help="default: one a core")]
Workers = Annotated[int, typer.Option(min=0, show_default=False, help="processes; default: one a core")]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON on standard output")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Recipe = Annotated[str, typer.Option(help="paper: as printed; best: ours")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE in place of the recipe's, e.g. epochs=50; repeatable")
]
Draws = Annotated[int, typer.Option(min=1, help="of artists, for the intervals")]
Minutes = Annotated[int, typer.Option(min=0, help="of an endless stream; 0 leaves it out")]


def cache_folder(folder: Path, cache: Path | None) -> Path:
    """Return the folder of a data set's features."""
    return cache or folder / "features"


def split_list(text: str) -> list[str]:
    """Return the parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def split_integers(option: str, text: str) -> list[int]:
    """Return the numbers of a comma-separated list. Raises SpecError that names the option."""
    numbers = []
    for part in split_list(text):
        try:
            numbers.append(int(part))
        except ValueError as error:
            raise SpecError(f"{option}: {part!r} is no whole number") from error
    return numbers
