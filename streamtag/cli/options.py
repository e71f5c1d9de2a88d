"""The options that several commands share, with their units and checks."""

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


def _check_probability(value: float | None) -> float | None:
    if value is not None and not 0 < value < 1:
        raise typer.BadParameter(f"{value} does not lie between 0 and 1, both excluded")
    return value


def _check_names(value: str | None) -> str | None:
    if value is not None and not any(name.strip() for name in value.split(",")):
        raise typer.BadParameter("names no tag")
    return value


def check_seconds(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"{value:g} is not a number of seconds above 0")
    return value


JsonLines = Annotated[
    bool, typer.Option("--json", help="Print messages as JSON, one per line, as they come, instead of text for people.")
]
JsonObject = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Tags = Annotated[
    str | None,
    typer.Option(
        "--tags",
        metavar="A,B",
        callback=_check_names,
        help="Only these tags, by name, everywhere. `streamtag model` lists them.",
    ),
]
TopLive = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        min=1,
        help="Only the N strongest tags; by default as many as fit in the view, 5 in lines, all in each JSON frame.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="P",
        callback=_check_probability,
        help="Probability (0 to 1) from which on a tag counts as present: for highlighting, labels and events."
        " By default each tag has its own, from the model.",
    ),
]
Model = Annotated[
    Path | None, typer.Option("--model", metavar="PATH", help="Model file (.safetensors); by default the included one.")
]
ComputeDevice = Annotated[Device, typer.Option("--device", help="Where to compute; auto uses a CUDA GPU if present.")]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="Of the network's matrix products; bfloat16 is faster on CPUs with instructions for it, slower on others.",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option("--record", metavar="F.jsonl", help="Write every message with its time, for `streamtag replay`."),
]
Duration = Annotated[
    float | None,
    typer.Option(
        "--for", metavar="SECONDS", callback=check_seconds, help="Stop after this much time; by default never."
    ),
]

# --- serving and subscribing --------------------------------------------------------------------------------------

Serve = Annotated[
    str | None,
    typer.Option(
        "--serve",
        metavar="[HOST:]PORT",
        help="Serve the messages on a WebSocket, and a page for browsers at http://HOST:PORT/; HOST is 127.0.0.1"
        " by default.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="WORD", envvar="STREAMTAG_TOKEN", help="Password that subscribers need (?token=WORD)."
    ),
]
MaxClients = Annotated[
    int | None,
    typer.Option(
        "--max-clients", metavar="N", min=1, max=10_000, help="Maximum number of subscribers at a time (256)."
    ),
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


def server_config(
    where: str | None,
    token: str | None,
    max_clients: int | None,
    origins: list[str] | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> ServerConfig | None:
    """Return the settings of --serve and the options that belong to it; None without --serve. Raises SpecError."""
    if where is None:
        if any(value is not None for value in (max_clients, tls_cert, tls_key)) or origins:
            raise typer.BadParameter("--max-clients, --allow-origin and --tls-... go with --serve")
        return None
    from streamtag.server.config import ServerConfig

    values = {"token": token, "max_clients": max_clients, "tls_cert": tls_cert, "tls_key": tls_key}
    given = {name: value for name, value in values.items() if value is not None}
    return ServerConfig.parse(where, origins=tuple(origins or ()), **given)


def tag_names(value: str | None) -> tuple[str, ...] | None:
    """Return the names in --tags in order; None without it."""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",") if name.strip())
