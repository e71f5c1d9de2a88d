"""The options of the command line, with their units: commands share them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def _probability(value: float | None) -> float | None:
    if value is not None and not 0 < value < 1:
        raise typer.BadParameter(f"{value} does not lie between 0 and 1")
    return value


def _names(value: str | None) -> str | None:
    if value is not None and not any(name.strip() for name in value.split(",")):
        raise typer.BadParameter("names no tag")
    return value


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH|URL|-...",
        help="Audio or video files, folders (searched with all they hold), patterns, http(s) URLs, or - for"
        " standard input.",
        show_default=False,
    ),
]
JsonLines = Annotated[
    bool,
    typer.Option("--json", help="Print messages as JSON, one a line, as they come, in place of the table."),
]
JsonObject = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        metavar="F",
        help="Write a table: one row a frame (every 0.256 s), one column a tag; all inputs in one.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="F",
        help="Write a label track for Audacity: start and end [s] of every stretch with a tag."
        " With several inputs one file each: F.txt gives F-<name>.txt.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="F.png",
        help="Draw the tags over time (.png, .svg or .pdf), 20 tags without --top."
        " With several inputs one picture each: F-<name>.png.",
    ),
]
Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        min=1,
        help="Only the N strongest tags: in the table (10 without it), the picture, and each JSON frame and"
        " summary (all without it). Does not apply to --csv and --labels.",
    ),
]
Tags = Annotated[
    str | None,
    typer.Option(
        "--tags",
        metavar="A,B",
        callback=_names,
        help="Only these tags, by name, everywhere. `streamtag model` lists them.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="P",
        callback=_probability,
        help="Probability (0 to 1) from which on a tag counts as present: for the highlight, labels and"
        " events. Without it each tag has its own, from the model.",
    ),
]
Realtime = Annotated[bool, typer.Option("--realtime", help="No faster than the sound would play, by the clock.")]
Model = Annotated[
    Path | None,
    typer.Option("--model", metavar="PATH", help="Model file (.safetensors); without it the one that ships."),
]
ComputeDevice = Annotated[
    Device, typer.Option("--device", help="Where to compute; auto takes a CUDA GPU if there is one.")
]


def tag_names(value: str | None) -> tuple[str, ...] | None:
    """What --tags names, in its order; None without it."""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",") if name.strip())
