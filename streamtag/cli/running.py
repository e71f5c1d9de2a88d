"""What every command with a stream does around its work."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import partial

from streamtag.cli.reporter import Reporter
from streamtag.cli.signals import SignalGuard
from streamtag.errors import StreamtagError
from streamtag.sinks.jsonl import write_line


def run_command(json: bool, work: Callable[[Reporter, SignalGuard], None]) -> int:
    """Does the work, and reports what went wrong with it. -> the exit code: 0, 1, or 130 and 143 after a signal.

    json: standard output holds messages, errors too. The work enters the interruption where it can be ended well.
    Raises BrokenPipeError when nobody reads standard output any more.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files and streams may be in any script
        sys.stdout.reconfigure(encoding="utf-8" if json else None, errors="replace")
    reporter, interruption = Reporter(sys.stderr), SignalGuard()
    if json:
        reporter.told.append(partial(write_line, sys.stdout))
    try:
        work(reporter, interruption)
    except StreamtagError as error:
        reporter.error(error)
    return interruption.exit_code or int(reporter.failed)
