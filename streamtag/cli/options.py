"""The options that several commands share, with their units and checks."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from streamtag.cli.program import Section, UsageError
from streamtag.text import parse_time

if TYPE_CHECKING:
    from streamtag.server.config import ServerConfig


class Verbosity(IntEnum):
    """What is printed on standard error: only errors; notices and views too; details too."""

    quiet = 0
    normal = 1
    verbose = 2


def _check_probability(parameter: typer.CallbackParam, value: float | None) -> float | None:
    if value is not None and not 0 < value < 1:
        raise UsageError(f"{parameter.opts[0]} {value:g}: must lie between 0 and 1, both excluded")
    return value


def _check_names(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> str | None:
    if value is not None and any(context.params.get(name) is not None for name in ("tags", "concepts")):
        raise UsageError("--tags and --concepts exclude each other")
    if value is not None and not any(name.strip() for name in value.split(",")):
        raise UsageError(f"{parameter.opts[0]}: names nothing")
    return value


def check_seconds(parameter: typer.CallbackParam, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise UsageError(f"{parameter.opts[0]} {value:g}: must be a number of seconds above 0")
    return value


def parse_duration(value: str) -> float:
    seconds = parse_time(value)
    if not seconds:
        raise ValueError(f"{value}: must be longer than 0")
    return seconds


def option(declaration: str, section: Section, help: str, **settings: Any) -> Any:
    """Return an option. declaration: as help shows it, such as `--top N`. help: one phrase, with unit and default."""
    name, _, metavar = declaration.partition(" ")
    return typer.Option(name, metavar=metavar or None, help=help, rich_help_panel=section, **settings)


JsonLines = Annotated[
    bool,
    option("--json", Section.output, "Print messages as JSON, one per line, as they come, instead of text for people."),
]
JsonObject = Annotated[bool, option("--json", Section.output, "Print one JSON object.")]
Tags = Annotated[
    str | None,
    option(
        "--tags A,B|all",
        Section.shown,
        "Show these of the model's tags, or all of them, instead of concepts (groups of tags that mean the same)."
        " `streamtag model` lists both.",
        callback=_check_names,
    ),
]
Concepts = Annotated[
    str | None, option("--concepts A,B", Section.shown, "Only these concepts, by name.", callback=_check_names)
]
TopLive = Annotated[
    int | None, option("--top N", Section.shown, "Only the N strongest; by default those that fit in the view.", min=1)
]
Threshold = Annotated[
    float | None,
    option(
        "--threshold P",
        Section.shown,
        "Probability (0 to 1) from which on a concept or tag counts as present: for highlighting, labels and events."
        " By default each has its own, from the model. Concepts without evidence never count as present.",
        callback=_check_probability,
    ),
]
Model = Annotated[
    Path | None,
    option(
        "--model PATH|small",
        Section.model,
        "Model file (.safetensors), or the small included one; by default the large one.",
    ),
]
ComputeDevice = Annotated[
    Literal["auto", "cpu", "cuda"],
    option("--device auto|cpu|cuda", Section.model, "Where to compute; auto uses a CUDA GPU if present."),
]
PrecisionOption = Annotated[
    Literal["float32", "bfloat16"],
    option(
        "--precision float32|bfloat16",
        Section.model,
        "Of the matrix products; bfloat16 is faster on CPUs with instructions for it.",
    ),
]
Record = Annotated[
    Path | None,
    option("--record F.jsonl", Section.output, "Write every message with its time, for `streamtag replay`."),
]
Duration = Annotated[
    float | None,
    option("--for SECONDS", Section.general, "Stop after this time; by default never.", callback=check_seconds),
]

Verbose = Annotated[
    bool, option("--verbose", Section.general, "Also say on standard error what is used and how long it takes.")
]
Quiet = Annotated[bool, option("--quiet", Section.general, "Only errors on standard error: no notices, no views.")]

# --- serving and subscribing --------------------------------------------------------------------------------------

Serve = Annotated[
    str | None,
    option(
        "--serve [HOST:]PORT",
        Section.serving,
        "Serve the messages on a WebSocket, and a page at http://HOST:PORT/; HOST is 127.0.0.1 by default.",
    ),
]
Token = Annotated[
    str | None,
    option(
        "--token TOKEN", Section.serving, "Password that subscribers need (?token=TOKEN).", envvar="STREAMTAG_TOKEN"
    ),
]
MaxClients = Annotated[
    int | None,
    option("--max-clients N", Section.serving, "Maximum number of subscribers at a time (256).", min=1, max=10_000),
]
AllowOrigin = Annotated[
    list[str] | None,
    option(
        "--allow-origin ORIGIN",
        Section.serving,
        "Let pages of this origin subscribe (https://example.org); may be repeated.",
    ),
]
TlsCert = Annotated[
    Path | None, option("--tls-cert F.pem", Section.serving, "Serve https and wss with this certificate.")
]
TlsKey = Annotated[Path | None, option("--tls-key F.pem", Section.serving, "The certificate's private key.")]


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
            raise UsageError("--max-clients, --allow-origin and --tls-... go with --serve")
        return None
    from streamtag.server.config import ServerConfig

    values = {"token": token, "max_clients": max_clients, "tls_cert": tls_cert, "tls_key": tls_key}
    given = {name: value for name, value in values.items() if value is not None}
    return ServerConfig.parse(where, origins=tuple(origins or ()), **given)


def with_serve(function: Callable[..., int]) -> Callable[..., int]:
    """Add --serve and the options that belong to it to a command, which gets their settings as `server`."""
    serving = {
        "serve": Serve,
        "token": Token,
        "max_clients": MaxClients,
        "allow_origin": AllowOrigin,
        "tls_cert": TlsCert,
        "tls_key": TlsKey,
    }
    return with_options(function, "server", serving, None, server_config)


def with_verbosity(function: Callable[..., int]) -> Callable[..., int]:
    """Add --verbose and --quiet to a command, which gets a `verbosity`."""
    return with_options(function, "verbosity", {"verbose": Verbose, "quiet": Quiet}, False, _verbosity)


def _verbosity(verbose: bool, quiet: bool) -> Verbosity:
    if verbose and quiet:
        raise UsageError("--verbose and --quiet exclude each other")
    return Verbosity.verbose if verbose else Verbosity.quiet if quiet else Verbosity.normal


def with_options(
    function: Callable[..., int], parameter: str, added: dict[str, Any], default: object, build: Callable[..., Any]
) -> Callable[..., int]:
    """Replace a command's parameter by options, from whose values, in their order, its value is built."""

    @wraps(function)
    def command(**values: Any) -> int:
        built = build(*(values.pop(name) for name in added))
        return function(**{parameter: built}, **values)

    kinds = get_type_hints(function, localns={"ServerConfig": Any}, include_extras=True) | added
    defaults = {name: each.default for name, each in signature(function).parameters.items() if name != parameter}
    command.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kinds[name])
            for name, default in (defaults | dict.fromkeys(added, default)).items()
        ]
    )
    command.__annotations__ = {name: kind for name, kind in kinds.items() if name != parameter}
    return command


def names_in(value: str | None) -> tuple[str, ...] | None:
    """Return the names in --tags or --concepts in order; None without it."""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",") if name.strip())
