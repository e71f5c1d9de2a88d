"""The command line of training: puts the commands together, and turns a user's mistakes into one line."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

import typer

from streamtag.errors import StreamtagError
from trainer import commands
from trainer.data import dataset

ORDER = ("download", "prepare", "systems", "train", "evaluate", "report", "reproduce", "export", "bench")
FORMAT = "\n\n".join("\b\n" + part for part in (dataset.__doc__ or "").strip().split("\n\n"))

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(help=f"Train streamtag models on MagnaTagATune or on your own clips and tags.\n\n{FORMAT}")
def _main() -> None:
    """Sets nothing up."""


def _register() -> None:
    """Every command that has a file, in the order in which they are used."""
    there = {module.name for module in iter_modules(commands.__path__)}
    for name in ORDER:
        if name in there:
            app.command(name)(import_module(f"{commands.__name__}.{name}").command)


_register()


def main() -> None:
    """Runs the command line; a user's mistake is one line on standard error and exit code 1."""
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
