"""What a request asks for: its path and parameters as the queries of subscribers and producers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl, unquote

from streamtag.audio.pcm import PcmFormat, parse_whole_number
from streamtag.errors import SpecError
from streamtag.protocol.messages import Hello
from streamtag.protocol.selection import MessageFilter, Selection

STREAMS, INGEST, STATE = "/streams/", "/ingest/", "/state"  # /streams/NAME, /ingest/NAME, /streams/NAME/state
TOKEN = "token"
FILTER_PARAMETERS = ("top", "tags", "concepts", "min")
HISTORY = "history"
INGEST_PARAMETERS = ("rate", "format", "channels", "position")
MAX_PARAMETERS = 16
MAX_NAME_CHARS = 64
MAX_HISTORY_S = 300
MAX_INGEST_CHANNELS = 8


@dataclass(frozen=True)
class RequestTarget:
    """The target in the request line. path: still percent-encoded; parameters: decoded."""

    path: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises SpecError for parameters that are damaged, too many, or given twice."""
        path, _, query = text.partition("?")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
        except ValueError:
            raise SpecError("the parameters after the ? cannot be read") from None
        parameters: dict[str, str] = {}
        for name, value in pairs:
            if name in parameters:
                raise SpecError(f"{name} is given twice")
            parameters[name] = value
        return cls(path, parameters)

    @property
    def is_ingest(self) -> bool:
        """It is for a producer of audio."""
        return self.path.startswith(INGEST)

    @property
    def is_state(self) -> bool:
        """It is for the state of a stream that moves from or to another server."""
        return self.path.startswith(STREAMS) and self.path.endswith(STATE) and self.path.count("/") == 3

    @property
    def state_stream(self) -> str:
        """The name of the stream whose state is asked for. Raises SpecError for a bad name or any parameter."""
        self.check_parameters(())
        return _valid_name(self.path.removeprefix(STREAMS).removesuffix(STATE))

    def check_parameters(self, known: Collection[str]) -> None:
        """Raises SpecError for a parameter that is unknown here."""
        for name in self.parameters:
            if name not in (*known, TOKEN):
                raise SpecError(f"{name!r} is unknown here: there are {', '.join(known)} and {TOKEN}")


@dataclass(frozen=True)
class SubscribeQuery:
    """What a subscriber asks for. stream: its name; None: all streams. history_s: of the past, 0 for nothing."""

    stream: str | None
    message_filter: MessageFilter
    history_s: int = 0

    @classmethod
    def parse(cls, target: RequestTarget, hello: Hello) -> Self | None:
        """Return None for a path that is not served. Raises SpecError for parameters that make no sense."""
        if target.path == "/":
            stream = None
        elif target.path.startswith(STREAMS) and len(target.path) > len(STREAMS):
            stream = _decode_name(target.path.removeprefix(STREAMS))
        else:
            return None
        history_s = parse_whole_number(HISTORY, target.parameters.get(HISTORY, "0"))
        if history_s > MAX_HISTORY_S:
            raise SpecError(f"{HISTORY} is a number of seconds from 0 to {MAX_HISTORY_S}, not {history_s}")
        return cls(stream, _parse_filter(target, hello, (HISTORY,)), history_s)


@dataclass(frozen=True)
class IngestQuery:
    """What a producer sends, and which messages of its stream it wants.

    position: the producer's count, per channel, of the first sample that it sends; None: it does not count.
    """

    stream: str
    format: PcmFormat
    position: int | None
    message_filter: MessageFilter

    @classmethod
    def parse(cls, target: RequestTarget, hello: Hello) -> Self:
        """Raises SpecError for parameters that make no sense."""
        parameters = target.parameters
        stream = _valid_name(target.path.removeprefix(INGEST))
        format = PcmFormat.parse(
            parameters.get("rate", "16000"),
            parameters.get("format", "s16le"),
            parameters.get("channels", "1"),
            MAX_INGEST_CHANNELS,
        )
        position = parse_whole_number("position", parameters["position"]) if "position" in parameters else None
        return cls(stream, format, position, _parse_filter(target, hello, INGEST_PARAMETERS))


def _decode_name(path: str) -> str:
    try:
        return unquote(path, errors="strict")
    except ValueError:
        raise SpecError("the stream's name is not UTF-8") from None


def _valid_name(path: str) -> str:
    """Return the name of a stream from its part of a path. Raises SpecError for one that nobody could read."""
    name = _decode_name(path)
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise SpecError(f"a stream's name has 1 to {MAX_NAME_CHARS} characters, not {len(name)}")
    if not name.isprintable() or "/" in name or name != name.strip():
        raise SpecError("a stream's name consists of printable characters, without / and without outer spaces")
    return name


def _parse_filter(target: RequestTarget, hello: Hello, others: Collection[str] = ()) -> MessageFilter:
    """others: names of parameters that do not belong to the filter. Raises SpecError."""
    target.check_parameters((*others, *FILTER_PARAMETERS))
    tags, concepts, top, minimum = (target.parameters.get(name) for name in ("tags", "concepts", "top", "min"))
    limit = None if top is None else parse_whole_number("top", top)
    try:
        min_probability = 0.0 if minimum is None else float(minimum)
    except ValueError:
        raise SpecError(f"min must be a probability between 0 and 1, not {minimum!r}") from None
    names, concept_names = (None if value is None else value.split(",") for value in (tags, concepts))
    selection = Selection.of(
        hello.tags, hello.thresholds, hello.concepts, names=names, concept_names=concept_names, top=limit
    )
    return replace(selection.message_filter, min_probability=min_probability)
