"""The command `download`: MagnaTagATune from its host or a mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="where to put it; about 6 GB with the archive's parts")],
    base_url: Annotated[str, typer.Option(help="of a mirror  [default: the host's]")] = "",
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="go on with a warning if a file's md5 is not the one known")
    ] = False,
) -> None:
    """Fetch MagnaTagATune; goes on where it was stopped. The parts mp3.zip.00? may be removed afterwards."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from streamtag.errors import ManifestError
    from trainer.commands.tables import progress_bar
    from trainer.data import download

    console = Console(stderr=True)

    def warn(text: str) -> None:
        console.print(f"warning: {text}", markup=False, highlight=False, soft_wrap=True)

    files = download.missing_files(folder)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        tasks = {name: progress.add_task(name, total=None) for file in files for name in file.parts}

        def on_progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=None)
            progress.update(tasks[name], completed=done, total=total)

        download.download_files(folder, base_url or download.BASE_URL, files, on_progress)
        for difference in download.md5_differences(folder, files, on_progress):
            if not accept_changes:
                raise ManifestError(f"{difference}: remove it and run this again, or go on with --accept-changes")
            warn(difference)
    if download.ARCHIVE in files:
        with progress_bar() as progress:
            task = progress.add_task("unpacking", total=None)
            download.unpack_archive(
                folder,
                lambda _, done, total: progress.update(task, completed=done, total=total),
                lambda what: warn(f"left out: {what}"),
            )
    console.print(f"{folder}: complete", markup=False, highlight=False, soft_wrap=True)
