"""The command line, a command or a few a file."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

from streamtag.cli import catalog, file, listen, serve, subscribe, tools  # noqa: F401  they register themselves
from streamtag.cli.app import app

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. arguments: those of the process if None. -> the exit code."""
    try:
        app(None if arguments is None else list(arguments), prog_name="streamtag")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if arguments is None and any(thread.name.startswith("streamtag-") for thread in threading.enumerate()):
        # A reader that still waits for a stalled source holds a resampler, whose library complains at Python's exit.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
