"""`streamtag model` and `streamtag devices`: what is known of the model and of this machine."""

from __future__ import annotations

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


@app.command("devices", short_help="List the sound inputs.", epilog="\b\nExamples:\n  streamtag devices --json")
def _devices(json: options.JsonObject = False) -> None:
    """List the sound inputs of this machine: index, name, sample rate, channels, and which is the default."""

    def work() -> int:
        from streamtag.cli.devices import run

        return run(json)

    raise typer.Exit(guarded(work))
