"""`streamtag model` and `streamtag devices`: the card of a model file, and the sound inputs of this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from streamtag.cli import options
from streamtag.cli.app import as_command
from streamtag.cli.runtime import import_torch
from streamtag.errors import SourceError

if TYPE_CHECKING:
    from rich.console import Console

    from streamtag.audio.devices import InputDevice
    from streamtag.model import TaggerNetwork

_SYSTEM = "To tag what this machine plays: pip install 'streamtag[system]' and streamtag listen --system"
HINTS = {  # how to tag what the machine plays, by the beginning of sys.platform
    "linux": f"{_SYSTEM} (PulseAudio or PipeWire).",
    "darwin": "To tag what this machine plays, install a virtual device such as BlackHole, send the sound there, and"
    " choose it with --input: macOS has no loopback of its own.",
    "win": f"{_SYSTEM} (WASAPI loopback).",
}


@as_command("model", "\b\nExamples:\n  streamtag model\n  streamtag model --model my.safetensors --json")
def model(path: options.Model = None, as_json: options.JsonObject = False) -> int:
    """Print the model card: the network, where its weights come from, scores, concepts and tags with thresholds."""
    import_torch()
    from streamtag.api import load
    from streamtag.terminal.model_card import CardView
    from streamtag.terminal.summary import results_console

    tagger = load(path, "cpu")
    facts = network_facts(tagger.network)
    view = CardView(tagger.path, tagger.tags, tagger.thresholds, tagger.concepts, tagger.card, facts)
    if as_json:
        print(json.dumps(view.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        view.print(results_console(sys.stdout))
    return 0


def network_facts(network: TaggerNetwork) -> dict[str, Any]:
    """Return what the network reads, how it is built, and in seconds how far back and how often it is evaluated."""
    from streamtag.spec import ConvolutionalSpec, NetworkSpec, TransposedSpec, WindowedSpec, front_end_kind

    spec, front_end = network.recurrent.spec, network.spec
    facts: dict[str, Any] = {"front_end": front_end_kind(front_end), "features": spec.inputs}
    if isinstance(spec, NetworkSpec | TransposedSpec):
        facts["layers"] = f"{spec.layers} x {spec.hidden} {spec.cell}"
    if isinstance(spec, TransposedSpec):
        facts["layers"] += f", a step per band, of {spec.steps} values"
    if isinstance(spec, ConvolutionalSpec):
        facts["layers"] = f"convolutions with {', '.join(map(str, spec.channels))} channels"
    if isinstance(spec, WindowedSpec):
        step_s = front_end.step / front_end.sample_rate
        return facts | {"reads_last_s": spec.frames * step_s, "evaluated_every_s": spec.stride * step_s}
    return facts | {"reads": "frame by frame, with a state"}


@as_command("devices", "\b\nExamples:\n  streamtag devices --json")
def devices(as_json: options.JsonObject = False) -> int:
    """List the sound inputs of this machine: index, name, sample rate, channels, and which is the default.

    Monitors record what an output plays. That of the default output, which `listen --system` tags, is marked.
    """
    from streamtag.audio.devices import list_inputs
    from streamtag.terminal.summary import results_console

    inputs = [*list_inputs(), *_monitors()]
    if as_json:
        print(json.dumps([asdict(device) for device in inputs], ensure_ascii=False, indent=2))
    else:
        print_inputs(inputs, results_console(sys.stdout))
    return 0


def _monitors() -> list[InputDevice]:
    """Return what --system can record, the default first; nothing where it cannot."""
    from streamtag.audio.loopback import OutputMonitors

    try:
        return OutputMonitors().inputs()
    except SourceError:
        return []


def print_inputs(inputs: Sequence[InputDevice], console: Console) -> None:
    """Print one line per input, then how to tag what the machine plays."""
    from rich.text import Text

    if inputs:
        api_width = max(len("host API"), *(len(device.host_api) for device in inputs))
        heading = f"{'':7}  {'index':>5}  {'rate':>10}  {'channels':>8}  {'host API':{api_width}}  name"
        console.print(Text(heading, "bold"), soft_wrap=True)
        system = next((device for device in inputs if device.index is None), None)
        for device in inputs:  # the name comes last because --input needs all of it, however long
            kind = "default" if device.default else "monitor" if device.is_monitor else ""
            if device is system:
                kind = "system"
            index = "-" if device.index is None else device.index
            figures = f"{kind:7}  {index:>5}  {device.rate:>7} Hz  {device.channels:>8}"
            console.print(Text(f"{figures}  {device.host_api:{api_width}}  {device.name}"), soft_wrap=True)
    else:
        console.print("This machine has no sound input.")
    hint = next((text for name, text in HINTS.items() if sys.platform.startswith(name)), None)
    if hint is not None:
        console.print()
        console.print(Text(hint))
