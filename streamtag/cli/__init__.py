"""The command line, a command or a few a file."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from functools import partial

from streamtag.cli import catalog, file, listen, serve, subscribe, tools  # noqa: F401  they register themselves
from streamtag.cli.app import app, guarded
from streamtag.cli.bench import command  # noqa: F401
from streamtag.cli.standard_streams import standard_streams

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. arguments: those of the process if None. -> the exit code."""
    with standard_streams():
        code = guarded(partial(_answered, arguments))
        if arguments is None and any(thread.name.startswith("streamtag-") for thread in threading.enumerate()):
            # A reader that waits for a stalled source holds a resampler, whose library complains at Python's exit.
            sys.stderr.flush()
            os._exit(code)
    return code


def _answered(arguments: Sequence[str] | None) -> int:
    try:
        app(None if arguments is None else list(arguments), prog_name="streamtag")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0
