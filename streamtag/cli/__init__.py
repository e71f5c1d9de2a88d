"""The command line: `app` is the program, and each command has a module of its name, with its options (`info` has
`model` and `devices`). It imports numpy, rich, av and torch only when the command runs, so that --help is quick.

The work is in `file_runner`, `live_runner`, `live_outputs`, `serve_output`, `watch_view`, `player` and `bench`.
`options` and `message_outputs` hold what commands share on the command line; `runtime` runs a command: errors, notices,
signals, `--serve`; `standard_streams` makes full, closed and unread outputs harmless. This is the top layer. Start in
`app`, then `file`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

from streamtag.cli.app import run_program
from streamtag.cli.standard_streams import standard_streams

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with these arguments, or those of the process, and return the exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in streamtag/__init__.py
    with standard_streams():
        code = run_program(None if arguments is None else list(arguments))
        if arguments is None and any(thread.name.startswith("streamtag-") for thread in threading.enumerate()):
            # A thread that waits for a stalled source holds a resampler, whose library complains at Python's exit.
            sys.stderr.flush()
            os._exit(code)
    return code
