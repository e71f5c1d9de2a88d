"""The command line of training: registers the commands, and reports a user's mistakes in one line."""

from __future__ import annotations

import sys

import typer

from streamtag.errors import StreamtagError
from trainer.commands import bench, download, evaluate, export, human, label, prepare, recipe, reproduce, systems, train
from trainer.data import dataset

FORMAT = "\n\n".join("\b\n" + part for part in (dataset.__doc__ or "").strip().split("\n\n"))

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(help=f"Train streamtag models on MagnaTagATune or on your own clips and tags.\n\n{FORMAT}")
def _main() -> None:
    """Do nothing: the callback only carries the help text."""


app.command("download")(download.command)
app.command("label")(label.command)
app.command("prepare")(prepare.command)
app.command("systems")(systems.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("human")(human.command)
app.command("folds")(human.write_folds)
app.command("report")(evaluate.report)
app.command("reproduce")(reproduce.command)
app.command("recipe")(recipe.command)
app.command("export")(export.command)
app.command("bench")(bench.command)


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 1."""
    try:
        app()
    except StreamtagError as error:
        print(f"trainer: {error}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("streamtag", "trainer"):
            raise
        print(f"trainer: {error.name} is missing: pip install 'streamtag[train]'", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
