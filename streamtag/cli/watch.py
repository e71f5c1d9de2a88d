"""`streamtag watch`: shows the messages of a streamtag server on the terminal, as lines or as JSON."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.message_outputs import MessageOutputs, with_outputs
from streamtag.cli.options import option
from streamtag.cli.program import Section
from streamtag.cli.runtime import Reporter, SignalGuard, run_command
from streamtag.text import format_time

POLL_INTERVAL_S = 0.05  # how long the loop waits for a message before it looks at keys and signals

EPILOG = f"""\b
Examples:
  streamtag watch 8765
  streamtag watch 8765/streams/mic --json --top 3
  streamtag watch wss://tags.example.org/ --token TOKEN

{EXIT_CODES}
"""


@as_command("watch", EPILOG)
@options.with_verbosity
@with_outputs
def watch(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="ws://HOST:PORT/ or wss://HOST:PORT/, for one stream with streams/NAME; HOST:PORT or PORT of this"
            " machine are enough, as in 8765/streams/mic.",
        ),
    ],
    outputs: MessageOutputs,
    json: options.JsonLines = False,
    top: options.TopLive = None,
    tags: options.Tags = None,
    concepts: options.Concepts = None,
    token: options.Token = None,
    ca: Annotated[
        Path | None, option("--ca F.pem", Section.input, "Trust this certificate (for wss:// addresses).")
    ] = None,
    seconds: options.Duration = None,
    verbosity: options.Verbosity = options.Verbosity.normal,
) -> int:
    """Subscribe to a streamtag server and show its concepts or tags; reconnects whenever the connection breaks."""

    def work(reporter: Reporter, guard: SignalGuard) -> None:
        from streamtag.audio.source import SourceNotice
        from streamtag.cli.watch_view import HISTORY_S, Totals, missing_stream, open_output
        from streamtag.client.address import ServerAddress
        from streamtag.client.subscriber import SubscriberClient
        from streamtag.protocol.messages import Error, Hello, History
        from streamtag.protocol.selection import Selection
        from streamtag.sinks.base import SinkGroup

        outputs.check()
        address, totals, start = ServerAddress.parse(url), Totals(), time.monotonic()
        deadline = start + (seconds or float("inf"))
        known: object = None  # the tags and concepts that the view was opened for
        console = reporter.view_console(json) if sys.stdout.isatty() and not json else None
        view, panel = None, None
        # States that are published have to be known from the start: any history says what is present
        is_stored, is_published = outputs.history is not None, outputs.broker is not None
        history_s = HISTORY_S if console is not None or is_stored else int(is_published)
        subscriber = SubscriberClient(address, token, ca, history_s=history_s)
        others = SinkGroup([])
        with guard, ExitStack() as resources, subscriber as client, ExitStack() as opened:
            stored = outputs.open_history(resources, reporter.note, source_of=lambda _: address.label)
            while not guard.stop_requested and time.monotonic() < deadline:
                if panel is not None and panel.stop_requested():
                    break
                message = client.read(POLL_INTERVAL_S)
                if isinstance(message, Hello) and (message.tags, message.concepts) != known:
                    known = message.tags, message.concepts
                    opened.close()
                    selection = Selection.of(
                        message.tags,
                        message.thresholds,
                        message.concepts,
                        names=options.names_in(tags),
                        concept_names=options.names_in(concepts),
                        top=top,
                    )
                    others = SinkGroup([*stored, *outputs.open_mqtt(opened, reporter.notify, message, selection)])
                    view, panel = open_output(console, json, selection, address, message, opened)
                    reporter.view = panel
                if isinstance(message, Hello):
                    reporter.detail(f"{address.label}: {message.server}, model {message.model}")
                    if (missing := missing_stream(address, message)) is not None:
                        reporter.notify(SourceNotice(missing, is_problem=False))
                if isinstance(message, SourceNotice):
                    reporter.notify(message)
                    if message.is_problem and json and view is not None:  # its readers do not see standard error
                        view.write(Error(message.text))
                elif message is not None:
                    totals.add(message)
                    others.publish(message)
                    if view is not None and (console is not None or not isinstance(message, History)):
                        view.write(message)
        reporter.note(f"{address.label}: watched for {format_time(time.monotonic() - start)}: {totals}")

    return run_command(json, work, verbosity)
