"""The program and what all its commands share: parses, and hands over. Imports nothing slow, so `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from streamtag import __version__
from streamtag.errors import StreamtagError

INTERRUPTED, BROKEN_PIPE = 130, 141  # as shells count signals: 128 + SIGINT, 128 + SIGPIPE

EXIT_CODES = (
    "Exit codes: 0 done; 1 something failed, in one clear line on standard error; 2 wrong usage;"
    " 130 and 143 ended by Ctrl-C and SIGTERM, with the results so far; 141 standard output was closed."
)

EPILOG = f"""\b
Examples:
  streamtag file song.mp3
  streamtag file music/ --json > tags.jsonl
  streamtag file --help

{EXIT_CODES}
"""

app = typer.Typer(
    help="Tags music while it plays: four times a second the probabilities of 50 tags.",
    epilog=EPILOG,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, without the time that rich takes to import
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"streamtag {__version__}")
        raise typer.Exit


@app.callback()
def _streamtag(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def guarded(work: Callable[[], int]) -> int:
    """What a user can cause becomes a line and an exit code."""
    try:
        code = work()
        sys.stdout.flush()
    except StreamtagError as error:
        print(f"streamtag: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    return code
