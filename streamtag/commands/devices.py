"""`streamtag devices`: the sound inputs of this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamtag.live.device import InputDevice, list_inputs
from streamtag.out.table import results_console

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
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        for heading in ("index", "name", "host API", "rate", "channels", ""):
            table.add_column(heading, justify="right" if heading in ("index", "rate", "channels") else "left")
        for device in inputs:
            numbers = (f"{device.rate} Hz", str(device.channels))
            default = "default" if device.default else ""
            table.add_row(str(device.index), Text(device.name), Text(device.host_api), *numbers, default)
        console.print(table)
    else:
        console.print("This machine has no sound input.")
    hint = next((text for name, text in HINTS.items() if sys.platform.startswith(name)), None)
    if hint is not None:
        console.print()
        console.print(Text(hint))
