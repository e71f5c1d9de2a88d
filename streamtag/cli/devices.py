"""`streamtag devices`: the sound inputs of this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from streamtag.audio.devices import InputDevice, list_inputs
from streamtag.terminal.summary import results_console

HINTS = {  # what else can be heard, by the beginning of sys.platform
    "linux": "What the machine itself plays is the monitor of its output (PulseAudio, PipeWire): PULSE_SOURCE=NAME"
    " streamtag listen, with a NAME that `pactl list short sources` ends in .monitor.",
    "darwin": "What the machine itself plays needs a loopback device such as BlackHole: send the sound there, and"
    " choose it here with --input.",
    "win": "What the machine itself plays is the input Stereo Mix where the driver has one (switch it on in the sound"
    " settings), or that of a virtual cable: WASAPI's own loopback is no input for PortAudio.",
}


def run(as_json: bool) -> int:
    """Prints the inputs, for people or as one JSON array. Raises SourceError without PortAudio."""
    inputs = list_inputs()
    if as_json:
        print(json.dumps([asdict(device) for device in inputs], ensure_ascii=False, indent=2))
    else:
        print_inputs(inputs, results_console(sys.stdout))
    return 0


def print_inputs(inputs: Sequence[InputDevice], console: Console) -> None:
    """One line an input, then what else can be heard."""
    if inputs:
        api_width = max(len("host API"), *(len(device.host_api) for device in inputs))
        heading = f"{'':7}  {'index':>5}  {'rate':>10}  {'channels':>8}  {'host API':{api_width}}  name"
        console.print(Text(heading, "bold"), soft_wrap=True)
        for device in inputs:  # the name comes last, since it may be long and must stay whole: it is what --input takes
            default = "default" if device.default else ""
            figures = f"{default:7}  {device.index:>5}  {device.rate:>7} Hz  {device.channels:>8}"
            console.print(Text(f"{figures}  {device.host_api:{api_width}}  {device.name}"), soft_wrap=True)
    else:
        console.print("This machine has no sound input.")
    hint = next((text for name, text in HINTS.items() if sys.platform.startswith(name)), None)
    if hint is not None:
        console.print()
        console.print(Text(hint))
