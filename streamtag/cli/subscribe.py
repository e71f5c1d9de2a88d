"""`streamtag watch` and `streamtag replay`: messages that come from elsewhere, or from before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, app, guarded

WATCH_EPILOG = f"""\b
Examples:
  streamtag watch ws://127.0.0.1:8765/
  streamtag watch ws://127.0.0.1:8765/streams/mic --json --top 3

{EXIT_CODES}
"""

REPLAY_EPILOG = f"""\b
Examples:
  streamtag listen --record evening.jsonl
  streamtag replay evening.jsonl --serve 8765

{EXIT_CODES}
"""


@app.command("watch", short_help="Show what a streamtag server tells.", epilog=WATCH_EPILOG)
def _watch(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="ws://HOST:PORT/ or ws://HOST:PORT/streams/NAME; wss:// too; PORT alone is of this machine.",
        ),
    ],
    json: options.JsonLines = False,
    top: options.TopLive = None,
    tags: options.Tags = None,
    token: options.Token = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="F.pem", help="Trust this certificate (for wss:// addresses).")
    ] = None,
    seconds: options.WatchFor = None,
) -> None:
    """Subscribe to a streamtag server and show its tags; connects again whenever the connection breaks."""

    def work() -> int:
        from streamtag.cli.watch_run import WatchRequest, run

        return run(WatchRequest(url, json, top, options.tag_names(tags), token, ca, seconds))

    raise typer.Exit(guarded(work))


@app.command("replay", short_help="Serve a recording with its own timing.", epilog=REPLAY_EPILOG)
def _replay(
    recording: Annotated[
        Path, typer.Argument(metavar="F.jsonl", help="What --record wrote, or the lines of --json.", show_default=False)
    ],
    serve: options.Serve = None,
    json: options.JsonLines = False,
    speed: Annotated[
        float, typer.Option("--speed", metavar="X", min=0.01, max=1000, help="Times as fast as it was.")
    ] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin anew at the end.")] = False,
    token: options.Token = None,
    max_clients: options.MaxClients = None,
    allow_origin: options.AllowOrigin = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
) -> None:
    """Play a recording of messages to subscribers (--serve), or as JSON lines (--json), with its own timing."""
    if serve is None and not json:
        raise typer.BadParameter("where to? add --serve [HOST:]PORT or --json")

    def work() -> int:
        from streamtag.cli.replay_run import ReplayRequest, run

        spec = options.serving(serve, token, max_clients, allow_origin, tls_cert, tls_key)
        return run(ReplayRequest(recording, spec, json, speed, loop))

    raise typer.Exit(guarded(work))
