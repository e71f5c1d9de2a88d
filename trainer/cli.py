"""The command line of training: registers the commands, and reports a user's mistakes in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from streamtag.cli.program import FAILED, PLAIN, Command, CommandGroup, guarded, run
from trainer.commands import bench, download, evaluate, export, human, label, prepare, recipe, reproduce, systems, train
from trainer.data import dataset

FORMAT = "\n\n".join("\b\n" + part for part in (dataset.__doc__ or "").strip().split("\n\n"))
COMMANDS: dict[str, Callable[..., None]] = {
    "download": download.command,
    "label": label.command,
    "prepare": prepare.command,
    "systems": systems.command,
    "train": train.command,
    "evaluate": evaluate.command,
    "human": human.command,
    "folds": human.write_folds,
    "report": evaluate.report,
    "reproduce": reproduce.command,
    "recipe": recipe.command,
    "export": export.command,
    "bench": bench.command,
}

app = typer.Typer(cls=CommandGroup, add_completion=False, **PLAIN)


@app.callback(help=f"Train streamtag models on MagnaTagATune or on your own clips and tags.\n\n{FORMAT}")
def _main() -> None:
    """Do nothing: the callback only carries the help text."""


for _name, _function in COMMANDS.items():
    app.command(_name, cls=Command)(_function)


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 1, or 2 for wrong usage."""
    try:
        code = guarded("trainer", lambda: run(app, "python -m trainer"))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("streamtag", "trainer"):
            raise
        print(f"trainer: {error.name} is missing: pip install 'streamtag[train]'", file=sys.stderr)
        code = FAILED
    sys.exit(code)
