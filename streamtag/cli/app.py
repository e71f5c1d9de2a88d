"""The program: its commands, each loaded only when it is used, and its exit codes. Imports nothing slow."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from streamtag import __version__
from streamtag.cli.program import PLAIN, Command, CommandGroup, UsageError, guarded, run

EXIT_CODES = (
    "Exit codes: 0 success; 1 a failure, described in one line on standard error; 2 wrong usage;"
    " 130 and 143 ended by Ctrl-C and SIGTERM, with the results so far; 141 standard output was closed."
)

EPILOG = f"""\b
Examples:
  streamtag file song.mp3
  streamtag file music/ --json > tags.jsonl
  streamtag help file

{EXIT_CODES}
"""

COMMANDS = {  # name: summary
    "catalog": "Tag a whole collection into one table.",
    "file": "Tag files, folders, URLs or standard input.",
    "listen": "Tag the sound of a microphone or a live stream.",
    "serve": "Tag many live streams that clients send.",
    "watch": "Show the messages of a streamtag server.",
    "history": "Show what was heard when, from a history.",
    "replay": "Serve a recording with its own timing.",
    "model": "Print the model card.",
    "bench": "Measure speed on this machine.",
    "devices": "List the sound inputs.",
    "help": "Show this, a command's help, or the protocol.",
}
MODULES = {"model": "info", "devices": "info"}  # the other commands are in a module of the same name


class LazyCommands(CommandGroup):
    """Imports the module of a command when the command is used, so that `streamtag --help` is quick."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, placeholder, rest = super().resolve_command(ctx, args)
        if name is None or placeholder is None:
            return name, placeholder, rest
        module = import_module(f"streamtag.cli.{MODULES.get(name, name)}")
        return name, typer.main.get_command(getattr(module, name)), rest

    def unknown_command(self, args: list[str]) -> UsageError:
        """Suggest `streamtag file` for what is a file; a file's name never means a command of a later version."""
        if is_source(args[0]):
            return UsageError(f"{args[0]}: not a command", hint=shlex.join(["streamtag", "file", *args]))
        return super().unknown_command(args)


def is_source(word: str) -> bool:
    """Return True if a word is a file, a folder, a pattern, or an address, or looks like one."""
    return any(mark in word for mark in "./\\*") or Path(word).exists()


app = typer.Typer(
    help="Tags music while it plays: four times a second the probabilities of 50 tags.",
    epilog=EPILOG,
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"]},
    **PLAIN,
)
for _name, _summary in COMMANDS.items():
    app.command(_name, short_help=_summary)(lambda: None)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"streamtag {__version__}")
        raise typer.Exit


@app.callback()
def _streamtag(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def run_program(arguments: list[str] | None) -> int:
    """Run the program with these arguments, or those of the process, and return the exit code."""
    return guarded("streamtag", lambda: run(app, "streamtag", arguments))


def as_command(name: str, epilog: str, cls: type[Command] = Command) -> Callable[[Callable[..., int]], typer.Typer]:
    """Make a command of a function that returns an exit code; errors that a user can cause become exit codes too."""

    def decorate(function: Callable[..., int]) -> typer.Typer:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            raise typer.Exit(guarded("streamtag", partial(function, *args, **kwargs)))

        single = typer.Typer(add_completion=False, **PLAIN)
        single.command(name, epilog=epilog, cls=cls)(run)
        return single

    return decorate
