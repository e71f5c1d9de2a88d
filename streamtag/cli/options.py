"""The options of the command line, with their units: commands share them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamtag.server.config import ServerConfig


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


class SampleFormat(StrEnum):
    s16le = "s16le"
    f32le = "f32le"


def _probability(value: float | None) -> float | None:
    if value is not None and not 0 < value < 1:
        raise typer.BadParameter(f"{value} does not lie between 0 and 1, both excluded")
    return value


def _names(value: str | None) -> str | None:
    if value is not None and not any(name.strip() for name in value.split(",")):
        raise typer.BadParameter("names no tag")
    return value


def _positive(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value:g} is not a number of seconds above 0")
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
    typer.Option("--json", help="Print messages as JSON, one a line, as they come, in place of what is for people."),
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
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision", help="Of the network's products; bfloat16 is faster on CPUs with units for it, else slower."
    ),
]


# --- live streams ------------------------------------------------------------------------------------------------

TopLive = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        min=1,
        help="Only the N strongest tags: in the view (without it as many as fit), lines (5), each JSON frame (all).",
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="NAME|INDEX",
        help="Sound input: its index or a part of its name, as `streamtag devices` lists them; the default one"
        " without it.",
    ),
]
Channel = Annotated[
    int | None,
    typer.Option(
        "--channel", metavar="N", min=1, help="Only this channel of the input, from 1; the first two mixed without it."
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="URL|-",
        help="In place of a microphone: an http(s) stream, such as internet radio, or - for standard input.",
    ),
]
Rate = Annotated[
    int | None,
    typer.Option("--rate", metavar="HZ", min=1000, max=384_000, help="Sample rate of bare samples on standard input."),
]
Format = Annotated[
    SampleFormat | None,
    typer.Option("--format", help="Of bare samples on standard input: 16-bit integers or 32-bit floats."),
]
Channels = Annotated[
    int | None,
    typer.Option("--channels", metavar="N", min=1, max=64, help="Of bare samples on standard input; 1 without it."),
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="What the stream is called in messages.")]
Record = Annotated[
    Path | None,
    typer.Option("--record", metavar="F.jsonl", help="Write every message with its time, for `streamtag replay`."),
]
SaveAudio = Annotated[
    Path | None,
    typer.Option("--save-audio", metavar="F.wav", help="Write what was heard (mono, at the input's own rate)."),
]
Duration = Annotated[
    float | None,
    typer.Option("--for", metavar="SECONDS", callback=_positive, help="Stop after so much sound; never without it."),
]
WatchFor = Annotated[
    float | None, typer.Option("--for", metavar="SECONDS", callback=_positive, help="Stop after so long a time.")
]
ResetOnSilence = Annotated[
    float | None,
    typer.Option(
        "--reset-on-silence",
        metavar="SECONDS",
        callback=_positive,
        help="When sound comes back after so much silence the network forgets what it heard, as for a new song.",
    ),
]
Osc = Annotated[
    str | None,
    typer.Option("--osc", metavar="HOST:PORT", help="Send every tag of every frame to an OSC receiver (UDP)."),
]

# --- serving and subscribing --------------------------------------------------------------------------------------

Serve = Annotated[
    str | None,
    typer.Option(
        "--serve",
        metavar="[HOST:]PORT",
        help="Serve the messages on a WebSocket and a page for browsers at http://HOST:PORT/; HOST is 127.0.0.1"
        " without it.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", metavar="WORD", envvar="STREAMTAG_TOKEN", help="What subscribers must know (?token=WORD)."),
]
MaxClients = Annotated[
    int | None,
    typer.Option("--max-clients", metavar="N", min=1, max=10_000, help="Most subscribers at a time; 256 without it."),
]
AllowOrigin = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-origin",
        metavar="ORIGIN",
        help="Also let pages of this origin subscribe, such as https://example.org; may be repeated.",
    ),
]
TlsCert = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="F.pem", help="Serve https and wss with this certificate.")
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", metavar="F.pem", help="The certificate's private key.")]


def serving(
    where: str | None,
    token: str | None,
    max_clients: int | None,
    origins: list[str] | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> ServerConfig | None:
    """What --serve and the options beside it ask for; None without it. Raises SpecError."""
    if where is None:
        if any(value is not None for value in (max_clients, tls_cert, tls_key)) or origins:
            raise typer.BadParameter("--max-clients, --allow-origin and --tls-... go with --serve")
        return None
    from streamtag.server.config import ServerConfig

    wanted = {"token": token, "max_clients": max_clients, "tls_cert": tls_cert, "tls_key": tls_key}
    given = {name: value for name, value in wanted.items() if value is not None}
    return ServerConfig.parse(where, origins=tuple(origins or ()), **given)


def tag_names(value: str | None) -> tuple[str, ...] | None:
    """What --tags names, in its order; None without it."""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",") if name.strip())
