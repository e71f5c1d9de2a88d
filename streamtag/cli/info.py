"""`streamtag model` and `streamtag devices`: the card of a model file, and the sound inputs of this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from streamtag.cli import options
from streamtag.cli.app import as_command

if TYPE_CHECKING:
    from rich.console import Console

    from streamtag.audio.devices import InputDevice

HINTS = {  # how to record what the machine plays, by the beginning of sys.platform
    "linux": "To record what this machine plays, use the monitor of its output (PulseAudio, PipeWire):"
    " PULSE_SOURCE=NAME streamtag listen, with a NAME ending in .monitor from `pactl list short sources`.",
    "darwin": "To record what this machine plays, install a loopback device such as BlackHole, send the sound there,"
    " and choose it with --input.",
    "win": "To record what this machine plays, use the input Stereo Mix if the driver has one (switch it on in the"
    " sound settings) or that of a virtual cable: PortAudio cannot use WASAPI's own loopback.",
}


@as_command("model", "\b\nExamples:\n  streamtag model\n  streamtag model --model my.safetensors --json")
def model(path: options.Model = None, as_json: options.JsonObject = False) -> int:
    """Print the model card: where the weights come from, training data, scores, concepts and tags with thresholds."""
    from streamtag.api import load
    from streamtag.terminal.model_card import CardView
    from streamtag.terminal.summary import results_console

    tagger = load(path, "cpu")
    view = CardView(tagger.path, tagger.tags, tagger.thresholds, tagger.concepts, tagger.card)
    if as_json:
        print(json.dumps(view.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        view.print(results_console(sys.stdout))
    return 0


@as_command("devices", "\b\nExamples:\n  streamtag devices --json")
def devices(as_json: options.JsonObject = False) -> int:
    """List the sound inputs of this machine: index, name, sample rate, channels, and which is the default."""
    from streamtag.audio.devices import list_inputs
    from streamtag.terminal.summary import results_console

    inputs = list_inputs()
    if as_json:
        print(json.dumps([asdict(device) for device in inputs], ensure_ascii=False, indent=2))
    else:
        print_inputs(inputs, results_console(sys.stdout))
    return 0


def print_inputs(inputs: Sequence[InputDevice], console: Console) -> None:
    """Print one line per input, then how to record what the machine plays."""
    from rich.text import Text

    if inputs:
        api_width = max(len("host API"), *(len(device.host_api) for device in inputs))
        heading = f"{'':7}  {'index':>5}  {'rate':>10}  {'channels':>8}  {'host API':{api_width}}  name"
        console.print(Text(heading, "bold"), soft_wrap=True)
        for device in inputs:  # the name comes last because --input needs all of it, however long
            default = "default" if device.default else ""
            figures = f"{default:7}  {device.index:>5}  {device.rate:>7} Hz  {device.channels:>8}"
            console.print(Text(f"{figures}  {device.host_api:{api_width}}  {device.name}"), soft_wrap=True)
    else:
        console.print("This machine has no sound input.")
    hint = next((text for name, text in HINTS.items() if sys.platform.startswith(name)), None)
    if hint is not None:
        console.print()
        console.print(Text(hint))
