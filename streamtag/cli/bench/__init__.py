"""`streamtag bench`: the speed of the front end, a hop and a file; the latency of a live stream; stream capacity."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from streamtag.cli import options
from streamtag.cli.app import as_command
from streamtag.cli.options import option
from streamtag.cli.program import Section


@as_command(
    "bench",
    "\b\nExamples:\n  streamtag bench\n  streamtag bench live --seconds 120\n  streamtag bench streams\n"
    "  streamtag bench --json",
)
def bench(
    what: Annotated[
        Literal["all", "live", "streams"],
        typer.Argument(
            metavar="all|live|streams",
            help="all: front end, hop and file; live: latency and cost of a stream with subscribers; "
            "streams: how many live streams this machine can process.",
        ),
    ] = "all",
    as_json: options.JsonObject = False,
    seconds: Annotated[
        float | None,
        option(
            "--seconds SECONDS",
            Section.general,
            "Seconds of sound in each part of `live` (60) or each trial of `streams` (10).",
            min=10,
            max=86_400,
        ),
    ] = None,
    model: options.Model = None,
    device: options.ComputeDevice = "auto",
    precision: options.PrecisionOption = "float32",
) -> int:
    """Measure this machine: the front end against kymatio, a hop and a whole file; or a live stream in real time;
    or how many live streams it can process (several minutes)."""
    from streamtag.api import load

    tagger = load(model, device)
    if what == "live":
        from streamtag.cli.bench.live import run_live

        run_live(tagger, as_json, seconds or 60.0)
    elif what == "streams":
        from streamtag.cli.bench.live import run_capacity

        run_capacity(tagger, as_json, seconds or 10.0, precision)
    else:
        from streamtag.cli.bench import offline

        offline.run(tagger, as_json)
    return 0
