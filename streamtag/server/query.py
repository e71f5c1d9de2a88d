"""What a request asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl, unquote

from streamtag.errors import SpecError
from streamtag.protocol.message_filter import MessageFilter
from streamtag.protocol.messages import Hello, Message
from streamtag.protocol.selection import Selection

STREAMS = "/streams/"
TOKEN = "token"
THINNING = ("top", "tags", "min")
MAX_PARAMETERS = 16


@dataclass(frozen=True)
class RequestTarget:
    """The request line's second word, taken apart. path: still percent-encoded; parameters: decoded."""

    path: str
    parameters: Mapping[str, str]

    @classmethod
    def of(cls, text: str) -> Self:
        """Raises SpecError for parameters that are damaged, too many, or given twice."""
        path, _, query = text.partition("?")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
        except ValueError:
            raise SpecError("the parameters behind the ? cannot be read") from None
        parameters: dict[str, str] = {}
        for name, value in pairs:
            if name in parameters:
                raise SpecError(f"{name} is given twice")
            parameters[name] = value
        return cls(path, parameters)


@dataclass(frozen=True)
class SubscribeQuery:
    """What a subscriber wants to hear. stream: its name; None: all of them."""

    stream: str | None
    message_filter: MessageFilter

    @classmethod
    def of(cls, target: RequestTarget, hello: Hello) -> Self | None:
        """None where nothing is served. Raises SpecError for what nobody can want."""
        if target.path == "/":
            stream = None
        elif target.path.startswith(STREAMS) and len(target.path) > len(STREAMS):
            stream = decoded(target.path[len(STREAMS) :])
        else:
            return None
        return cls(stream, thinning(target.parameters, hello))

    def wants(self, message: Message) -> bool:
        """Whether the message belongs to what was asked for; one of no stream concerns everybody."""
        stream: str | None = getattr(message, "stream", None)
        return self.stream is None or stream is None or stream == self.stream


def decoded(name: str) -> str:
    """A stream's name from its part of a path. Raises SpecError."""
    try:
        return unquote(name, errors="strict")
    except ValueError:
        raise SpecError("the stream's name is no UTF-8") from None


def check_known(parameters: Collection[str], known: Collection[str]) -> None:
    """Raises SpecError for parameters that mean nothing."""
    for name in parameters:
        if name not in (*known, TOKEN):
            raise SpecError(f"{name!r} is unknown here: there are {', '.join(known)} and {TOKEN}")


def thinning(parameters: Mapping[str, str], hello: Hello, others: Collection[str] = ()) -> MessageFilter:
    """What is wanted of each message; others: parameters that say something else. Raises SpecError."""
    check_known(parameters, (*others, *THINNING))
    tags = parameters["tags"].split(",") if "tags" in parameters else None
    top, least = parameters.get("top"), parameters.get("min")
    try:
        most = None if top is None else int(top)
    except ValueError:
        raise SpecError(f"top must be a whole number, not {top!r}") from None
    try:
        floor = 0.0 if least is None else float(least)
    except ValueError:
        raise SpecError(f"min must be a probability between 0 and 1, not {least!r}") from None
    chosen = Selection.of(hello.tags, hello.thresholds, names=tags, top=most).message_filter
    return replace(chosen, min_probability=floor)
