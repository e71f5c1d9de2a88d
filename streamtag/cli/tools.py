"""`streamtag model`, `streamtag bench`, `streamtag devices`: what is known of the model and of this machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from streamtag.cli import options
from streamtag.cli.app import app, guarded


@app.command(
    "model",
    short_help="Print the model card.",
    epilog="\b\nExamples:\n  streamtag model\n  streamtag model --model my.safetensors --json",
)
def _model(model: options.Model = None, json: options.JsonObject = False) -> None:
    """Print the model card: where the weights come from, what they learned, scores, tags and thresholds."""

    def work() -> int:
        from streamtag.cli.model import run

        return run(model, json)

    raise typer.Exit(guarded(work))


class Bench(StrEnum):
    all = "all"
    live = "live"
    streams = "streams"
    catalog = "catalog"


@app.command(
    "bench",
    short_help="Measure speed and memory on this machine.",
    epilog="\b\nExamples:\n  streamtag bench\n  streamtag bench live --seconds 120\n"
    "  streamtag bench streams\n  streamtag bench catalog\n  streamtag bench --json",
)
def _bench(
    what: Annotated[
        Bench,
        typer.Argument(
            help="all: files, speed, memory; live: latency and cost of a stream with subscribers; "
            "streams: how many live streams this machine holds; catalog: a collection, beside `file`."
        ),
    ] = Bench.all,
    json: options.JsonObject = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            metavar="SECONDS",
            min=10,
            max=86_400,
            help="Of sound: each part of the live bench (60), each trial of the streams (10), each file of a"
            " collection (60).",
        ),
    ] = None,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
    precision: options.Products = options.Precision.float32,
) -> None:
    """Measure this machine: front end against kymatio, a whole file, time to the first frame, memory; or a live
    stream in real time; or how many of them it holds (a quarter of an hour); or a collection of files (minutes)."""

    def work() -> int:
        if what is Bench.live:
            from streamtag.cli.bench import live as bench_live

            return bench_live.run(as_json=json, model=model, device=device.value, seconds=seconds or 60.0)
        if what is Bench.streams:
            from streamtag.cli.bench.streams import command

            seconds_a_trial, products = seconds or 10.0, precision.value
            return command.run(
                as_json=json, model=model, device=device.value, seconds=seconds_a_trial, precision=products
            )
        if what is Bench.catalog:
            from streamtag.cli.bench import catalog as bench_catalog

            return bench_catalog.run(as_json=json, model=model, device=device.value, seconds=seconds or 60.0)
        from streamtag.cli.bench import bench

        return bench.run(json=json, model=model, device=device.value)

    raise typer.Exit(guarded(work))


@app.command("devices", short_help="List the sound inputs.", epilog="\b\nExamples:\n  streamtag devices --json")
def _devices(json: options.JsonObject = False) -> None:
    """List the sound inputs of this machine: index, name, sample rate, channels, and which is the default."""

    def work() -> int:
        from streamtag.cli.devices import run

        return run(json)

    raise typer.Exit(guarded(work))
