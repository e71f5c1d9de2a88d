"""`streamtag replay`: plays a recording to subscribers, or as JSON lines, with its own timing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.options import option
from streamtag.cli.program import Section, UsageError
from streamtag.cli.runtime import Reporter, SignalGuard, run_command, start_server
from streamtag.errors import SourceError
from streamtag.text import format_time, plural, printable

if TYPE_CHECKING:
    from streamtag.protocol.messages import Message
    from streamtag.server.config import ServerConfig

EPILOG = f"""\b
Examples:
  streamtag listen --record evening.jsonl
  streamtag replay evening.jsonl --serve 8765

{EXIT_CODES}
"""


@as_command("replay", EPILOG)
@options.with_verbosity
@options.with_serve
def replay(
    path: Annotated[
        Path, typer.Argument(metavar="F.jsonl", help="A file of --record, or the lines of --json.", show_default=False)
    ],
    server: ServerConfig | None = None,
    json: options.JsonLines = False,
    speed: Annotated[float, option("--speed X", Section.input, "Times the original speed.", min=0.01, max=1000)] = 1.0,
    loop: Annotated[bool, option("--loop", Section.input, "Start again at the end.")] = False,
    verbosity: options.Verbosity = options.Verbosity.normal,
) -> int:
    """Play a recording of messages to subscribers (--serve), or as JSON lines (--json), with its own timing."""
    if server is None and not json:
        raise UsageError("where to? add --serve [HOST:]PORT or --json")

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        from rich.progress import TaskID

        from streamtag.cli.player import Player, progress_line, summary
        from streamtag.sinks.jsonl import write_line
        from streamtag.sinks.recording import Recording

        label, served = printable(str(path)), None
        outputs: list[Callable[[Message], None]] = []
        with Recording(path) as recording:
            with ExitStack() as resources:
                resources.enter_context(guard)
                if server is not None:
                    served = start_server(server, recording.hello, reporter, resources)
                    outputs.append(served.publish)
                if json:
                    write_line(sys.stdout, recording.hello)
                    outputs.append(partial(write_line, sys.stdout))
                player = Player(recording, outputs, speed)

                def should_continue() -> bool:
                    if progress is not None:
                        figures = [format_time(player.position_s), plural(player.played, "message")]
                        figures += [f"pass {player.passes}"] if loop else []
                        figures += [plural(served.subscribers, "subscriber")] if served is not None else []
                        progress.update(task, completed=min(1.0, recording.fraction), figures="  ".join(figures))
                    return not guard.stop_requested

                progress, task = None, TaskID(0)
                if (console := reporter.view_console(json)) is not None:
                    progress = resources.enter_context(progress_line(console))
                    task = progress.add_task(printable(path.name), total=1.0, figures="")
                try:
                    player.play(loop, should_continue)
                except SourceError as error:
                    raise SourceError(f"{label}: {error}") from None
            reporter.note(f"{label}: {summary(player, recording, guard.stop_requested)}")

    return run_command(json, work, verbosity)
