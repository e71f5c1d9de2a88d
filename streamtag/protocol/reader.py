"""Parsing: the JSON of the protocol as messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import cache, partial
from itertools import pairwise
from typing import Any, Literal, TypeVar, get_type_hints

from streamtag.errors import ProtocolError
from streamtag.protocol.messages import (
    PROTOCOL,
    Concept,
    End,
    Error,
    Event,
    Frame,
    Gap,
    Hello,
    History,
    Message,
    Ready,
)

Value = TypeVar("Value")
MAX_MESSAGE_CHARS = 1 << 20  # characters; a hello of thousands of tags is far shorter


def parse(line: str | bytes) -> Message | None:
    """Parse one message. Return None for a type that this version does not know.

    Unknown fields are ignored, as the protocol requires. Raises ProtocolError for anything that is not a message.
    """
    return read_message(decode(line))


def decode(line: str | bytes) -> dict[str, Any]:
    """Return the fields of a message, of which only the type is known to be there. Raises ProtocolError."""
    if len(line) > MAX_MESSAGE_CHARS:
        raise ProtocolError(f"a message of {len(line)} characters: too long")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError("not a message: no JSON") from None
    if not isinstance(values, dict) or not isinstance(values.get("type"), str):
        raise ProtocolError("not a message: no JSON object with a type")
    return values


def read_message(values: Mapping[str, Any]) -> Message | None:
    """Return the message with these fields, as `parse` does. Raises ProtocolError."""
    reader = _MESSAGES.get(values["type"])
    if reader is None:
        return None
    try:
        return reader(values)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"not a {values['type']} message: {type(error).__name__} {error}") from None


def _read(kind: Any, values: Any) -> Any:
    """Return the message, or concept, of this class: each field is read by its type, those with a default may lack."""
    values = _is(values, dict)
    return kind(**{name: read(values[name]) for name, read, is_needed in _fields(kind) if is_needed or name in values})


@cache
def _fields(kind: Any) -> list[tuple[str, Callable[[Any], Any], bool]]:
    """Return the name of each field, how it is read, and whether it has no default."""
    types = get_type_hints(kind)
    return [
        (each.name, _READERS[types[each.name]], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    ]


def _hello(values: Mapping[str, Any]) -> Hello:
    if values["protocol"] != PROTOCOL:
        raise ProtocolError(f"the other side speaks protocol {values['protocol']!r}, this one protocol {PROTOCOL}")
    hello: Hello = _read(Hello, {"thresholds": [0.5] * len(_list(values["tags"])), **values})
    if len(hello.thresholds) != len(hello.tags):
        raise ValueError("as many thresholds as tags are needed")
    return hello


def _history(values: Mapping[str, Any]) -> History:
    stream, times = _text(values["stream"]), _READERS[tuple[float, ...]](values["times"])
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("times ascend")
    return History(
        stream,
        times,
        tags=_probabilities(values["tags"], len(times)),
        concepts=_probabilities(values["concepts"], len(times)),
        present=_READERS[tuple[str, ...]](values["present"]),
        events=tuple(_read(Event, {**_is(event, dict), "stream": stream}) for event in _list(values["events"])),
        gaps=tuple(_read(Gap, {**_is(gap, dict), "stream": stream}) for gap in _list(values["gaps"])),
    )


def _is(value: Any, kind: type[Value]) -> Value:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _text(value: Any) -> str:
    return _is(value, str)


def _whole(value: Any) -> int:
    return _is(value, int)


def _number(value: Any) -> float:
    number = float(value) if isinstance(value, int) and not isinstance(value, bool) else _is(value, float)
    if not abs(number) < float("inf"):
        raise ValueError("not a finite number")
    return number


def _list(value: Any) -> list[Any]:
    return _is(value, list)


def _state(value: Any) -> Any:
    if value not in ("on", "off"):
        raise ValueError("state is on or off")
    return value


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _tuple_of(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple(map(read, _list(value)))


def _numbers(value: Any) -> dict[str, float]:
    return {_text(name): _number(number) for name, number in _is(value, dict).items()}


def _probabilities(value: Any, count: int) -> dict[str, tuple[float, ...]]:
    """Return `count` probabilities of each name."""
    columns = {_text(name): tuple(map(_number, _list(column))) for name, column in _is(value, dict).items()}
    for name, column in columns.items():
        if len(column) != count:
            raise ValueError(f"{len(column)} values of {name!r} for {count} times")
        if count and not (min(column) >= 0 and max(column) <= 1):
            raise ValueError(f"{name!r} has a value that is no probability")
    return columns


_READERS: dict[Any, Callable[[Any], Any]] = {  # by the type of a field
    str: _text,
    int: _whole,
    float: _number,
    Literal["on", "off"]: _state,
    str | None: _optional(_text),
    float | None: _optional(_number),
    tuple[str, ...]: _tuple_of(_text),
    tuple[str, ...] | None: _optional(_tuple_of(_text)),
    tuple[float, ...]: _tuple_of(_number),
    tuple[Concept, ...]: _tuple_of(partial(_read, Concept)),
    Mapping[str, float]: _numbers,
}
_MESSAGES: dict[str, Callable[[Mapping[str, Any]], Message]] = {
    **{kind.type: partial(_read, kind) for kind in (Frame, Event, Gap, End, Error, Ready)},
    Hello.type: _hello,
    History.type: _history,
}
