"""`streamtag serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, app, guarded

SERVE_EPILOG = f"""\b
Examples:
  streamtag serve 8765                               then open http://127.0.0.1:8765/ in a browser
  streamtag serve 0.0.0.0:8765 --ingest-token WORD --token OTHER
  streamtag serve 8765 --json --top 3 > tags.jsonl
  streamtag watch ws://127.0.0.1:8765/streams/hall-2

\b
Producers open a WebSocket and send bare samples, in messages of any length up to 1 MiB:
  ws://HOST:PORT/ingest/NAME?rate=48000&format=s16le&channels=1
NAME     1 to 64 characters, percent-encoded, without /
rate     Hz, 16000 without it;  format  s16le (default) or f32le;  channels  1 (default) to 8, interleaved
position where the first sample stands in the sound, for producers that connect again
token    the word, if one is asked for;  top, tags, min  thin what comes back, as for subscribers
They get hello, ready (with the position that is wanted), and their own stream's messages. The text message
{{"type":"end"}} ends the stream; one that only breaks off may come back within 10 s and goes on.
examples/producer.py is a whole one.

\b
GET http://HOST:PORT/health                says ready or degraded, and how many more streams there is room for
GET http://HOST:PORT/metrics               counts, for Prometheus
GET http://HOST:PORT/streams/NAME/state    a stream as it stands; sent to ws://OTHER/streams/NAME/state it goes on there

{EXIT_CODES}
"""


@app.command("serve", short_help="Tag many live streams that clients send.", epilog=SERVE_EPILOG)
def _serve(
    where: Annotated[
        str,
        typer.Argument(
            metavar="[HOST:]PORT", help="Where to listen; HOST is 127.0.0.1 without it.", show_default=False
        ),
    ],
    token: options.Token = None,
    ingest_token: Annotated[
        str | None,
        typer.Option(
            "--ingest-token",
            metavar="WORD",
            envvar="STREAMTAG_INGEST_TOKEN",
            help="What producers must know (?token=WORD); without it, what subscribers must.",
        ),
    ] = None,
    max_streams: Annotated[
        int | None,
        typer.Option(
            "--max-streams",
            metavar="N",
            min=1,
            max=100_000,
            help="Take in so many streams, in place of what this machine is measured to hold when it starts.",
        ),
    ] = None,
    max_producers_per_client: Annotated[
        int,
        typer.Option(
            "--max-producers-per-client",
            metavar="N",
            min=1,
            max=100_000,
            help="Most streams at a time from one address (all that come by way of one proxy share its own).",
        ),
    ] = 64,
    max_clients: options.MaxClients = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, max=256, help="Processes that compute; one a core without it."),
    ] = None,
    precision: options.PrecisionOption = options.Precision.float32,
    json: Annotated[bool, typer.Option("--json", help="Print messages as JSON, one a line, as they come.")] = False,
    top: Annotated[
        int | None, typer.Option("--top", metavar="N", min=1, help="Only the N strongest tags of each JSON frame.")
    ] = None,
    tags: options.Tags = None,
    threshold: options.Threshold = None,
    record: options.Record = None,
    allow_origin: options.AllowOrigin = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
) -> None:
    """Tag many live streams at once: producers send sound over WebSockets, subscribers read the tags of any or all.

    Streams are stepped together in one batch. When there is no room for one more a producer is told so (HTTP 503 with
    Retry-After) and the others go on. Ctrl-C ends all streams.
    """

    def work() -> int:
        from streamtag.cli.serve_run import ServeRequest, run

        spec = options.serving(where, token, max_clients, allow_origin, tls_cert, tls_key)
        assert spec is not None
        request = ServeRequest(
            serve=spec,
            ingest_token=ingest_token,
            max_per_client=max_producers_per_client,
            max_streams=max_streams,
            workers=workers,
            precision=precision.value,
            threshold=threshold,
            json=json,
            top=top,
            tags=options.tag_names(tags),
            record=record,
            model=model,
            device=device.value,
        )
        return run(request)

    raise typer.Exit(guarded(work))
