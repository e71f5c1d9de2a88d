"""The command `bench`: the speed of feature extraction and training on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from trainer.commands import options


def command(
    systems: Annotated[str, typer.Option(help="separated by commas, or all")] = options.SYSTEM,
    recipe: options.Recipe = "best",
    share: Annotated[float, typer.Option(min=0.001, max=1.0, help="of MagnaTagATune's training clips made up")] = 0.02,
    steps: Annotated[int, typer.Option(min=1, help="of training that are timed")] = 3,
    clips: Annotated[int, typer.Option(min=4, help="MP3s whose features are computed")] = 64,
    loop_clips: Annotated[int, typer.Option(min=1, help="of them, for the kymatio loop")] = 8,
    device: options.Device = "auto",
    threads: options.Threads = options.CORES,
    as_json: options.AsJson = False,
) -> None:
    """Measure extraction against a kymatio loop, and training against a plain nn.GRU loop; each with its roof.

    The loop is compared with the first of the systems that is a GRU and reads
    frames. On made-up clips: nothing has to be there.
    """
    import torch

    from trainer.systems import SYSTEMS, named
    from trainer.train.device import open_device

    torch.set_num_threads(threads)
    names = list(SYSTEMS) if systems == "all" else options.split_list(systems)
    for name in names:
        named(name)  # raises SpecError before anything is measured
    place = open_device(device).type
    results: dict[str, Any] = {}
    for name, figures in _measure(names, recipe, share, steps, clips, min(loop_clips, clips), place):
        results[name] = figures
        if not as_json:
            _show(name, figures)
    if as_json:
        print(json.dumps(results, indent=1))


def _measure(
    systems: list[str], recipe: str, share: float, steps: int, clips: int, loop_clips: int, device: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    import os

    import torch

    from trainer.bench.extraction import extraction
    from trainer.bench.training import compare_with_plain_loop, training
    from trainer.systems import named

    grus = (name for name in systems if named(name).reads_frames and named(name).cell == "GRU")
    load = round(os.getloadavg()[0], 2)
    yield "machine", {"threads": torch.get_num_threads(), "torch": torch.__version__, "load_average": load}
    _announce("features")
    yield from extraction(clips, loop_clips, device)
    _announce("a plain loop")
    yield "training beside a plain loop", compare_with_plain_loop(next(grus, options.SYSTEM), share, steps, device)
    for system in systems:
        _announce(system)
        yield f"training: {system}", training(system, recipe, share, steps, device)


def _announce(stage: str) -> None:
    print(f"trainer bench: {stage} ...", file=sys.stderr, flush=True)


def _show(name: str, figures: dict[str, Any]) -> None:
    print(f"\n{name}")
    for key, value in figures.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"  {key.replace('_', ' '):<30} {text}", flush=True)
