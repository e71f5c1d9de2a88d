"""`report`: several evaluations on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folders: Annotated[list[Path], typer.Argument(help="folders that `evaluate --out` wrote")],
    out: Annotated[Path, typer.Option(help="folder for the report: HTML, Markdown, plots, figures")],
    title: Annotated[str, typer.Option(help="its first line")] = "Music tagging systems",
) -> None:
    """Set several evaluations beside each other, the paper's and other published scores, in one report."""
    from streamtag.errors import ManifestError
    from trainer.report import document

    results = [result for folder in folders for result in document.read(folder)]
    measured = {(result["data"], result["split"]) for result in results}
    if len(measured) > 1:
        named = ", ".join(sorted(f"{data} {split}" for data, split in measured))
        raise ManifestError(f"these are of different clips and do not belong in one table: {named}")
    document.write(results, out, title)
    print(out / "report.html")
