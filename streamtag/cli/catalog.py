"""`streamtag catalog`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, app, guarded

EPILOG = f"""\b
Examples:
  streamtag catalog ~/Music --out tags.parquet
  streamtag catalog ~/Music --out tags.parquet --out tags.csv --frames frames.parquet
  streamtag catalog /mnt/music --out tags.parquet --ray              all cores of this machine, a process each
  streamtag catalog /mnt/music --out tags.parquet --ray 10.0.0.1:6379
  duckdb -c "select path, techno from 'tags.parquet' order by techno desc limit 10"

What is known is kept in tags.parquet.journal beside the table. The same command goes on where it was ended,
and later hears only files that are new or have changed; without that folder it begins anew.

{EXIT_CODES}
"""

HERE = "this machine"  # what --ray without an address stands for
ADDRESS = re.compile(r"auto|ray://.+|(\[[0-9a-fA-F:.]+\]|[^\s/:\\]+):[0-9]{1,5}")


class _Command(TyperCommand):
    """`--ray` takes the next word only if that is an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words: list[str] = []
        for place, word in enumerate(args):
            if word == "--":
                words += args[place:]
                break
            following = args[place + 1] if place + 1 < len(args) else ""
            words.append(f"--ray={HERE}" if word == "--ray" and not ADDRESS.fullmatch(following) else word)
        return super().parse_args(ctx, words)


@app.command("catalog", cls=_Command, short_help="Tag a whole collection into one table.", epilog=EPILOG)
def _catalog(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Folders (searched with all they hold), files, patterns. Addresses have no place in a collection.",
            show_default=False,
        ),
    ],
    out: Annotated[
        list[Path],
        typer.Option(
            "--out",
            metavar="F",
            help="The table, a row a file: F.parquet or F.csv. May be repeated.",
            show_default=False,
        ),
    ],
    frames: Annotated[
        Path | None,
        typer.Option("--frames", metavar="F", help="A second table, a row a frame (every 0.256 s): .parquet or .csv."),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="So many names of strongest tags in the column `top`.")
    ] = 5,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            max=1024,
            help="Threads, or actors with --ray; without it one a core or GPU.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="[ADDRESS]",
            help="Spread the work with Ray: over the cluster at HOST:PORT, ray://HOST:PORT or auto, which must see the"
            " files at the same paths; without ADDRESS over processes of this machine.",
        ),
    ] = None,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
) -> None:
    """Tag a whole collection: many files at once, into a table for DuckDB, pandas or a spreadsheet.

    The mean of every tag is a column. Files that fail are rows with a reason in the column `error`.
    """

    def work() -> int:
        from streamtag.cli.catalog_run import CatalogRequest, RayRequest, run

        request = CatalogRequest(
            paths=tuple(paths),
            outs=tuple(dict.fromkeys(out)),
            frames=frames,
            top=top,
            workers=workers,
            ray=None if ray is None else RayRequest(None if ray == HERE else ray),
            model=model,
            device=device.value,
        )
        return run(request)

    raise typer.Exit(guarded(work))
