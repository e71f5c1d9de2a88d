"""Parsing: the JSON of the protocol as messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

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
    reader = _READERS.get(values["type"])
    if reader is None:
        return None
    try:
        return reader(values)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"not a {values['type']} message: {type(error).__name__} {error}") from None


def _hello(values: Mapping[str, Any]) -> Hello:
    if values["protocol"] != PROTOCOL:
        raise ProtocolError(f"the other side speaks protocol {values['protocol']!r}, this one protocol {PROTOCOL}")
    tags = tuple(_text(tag) for tag in _each(values["tags"]))
    thresholds = tuple(_number(value) for value in _each(values.get("thresholds", [0.5] * len(tags))))
    if len(thresholds) != len(tags):
        raise ValueError("as many thresholds as tags are needed")
    streams = values.get("streams")
    return Hello(
        server=_text(values["server"]),
        model=_text(values["model"]),
        tags=tags,
        sample_rate=_whole(values["sample_rate"]),
        hop_s=_number(values["hop_s"]),
        window_s=_number(values["window_s"]),
        lookahead_s=_number(values["lookahead_s"]),
        thresholds=thresholds,
        concepts=tuple(_concept(value) for value in _each(values.get("concepts", []))),
        streams=None if streams is None else tuple(_text(stream) for stream in _each(streams)),
    )


def _concept(values: Any) -> Concept:
    values, threshold = _is(values, dict), values["threshold"]
    return Concept(
        name=_text(values["name"]),
        category=_text(values["category"]),
        tags=tuple(_text(tag) for tag in _each(values["tags"])),
        threshold=None if threshold is None else _number(threshold),
    )


def _frame(values: Mapping[str, Any]) -> Frame:
    latency = values.get("latency_s")
    return Frame(
        stream=_text(values["stream"]),
        frame=_whole(values["frame"]),
        start=_number(values["start"]),
        end=_number(values["end"]),
        tags=_numbers(values["tags"]),
        latency_s=None if latency is None else _number(latency),
        dropped=_whole(values.get("dropped", 0)),
        concepts=_numbers(values.get("concepts", {})),
    )


def _event(values: Mapping[str, Any]) -> Event:
    if values["state"] not in ("on", "off"):
        raise ValueError("state is on or off")
    concept = values.get("concept")
    return Event(
        stream=_text(values["stream"]),
        tag=_text(values["tag"]),
        state=values["state"],
        time=_number(values["time"]),
        concept=None if concept is None else _text(concept),
    )


def _gap(values: Mapping[str, Any]) -> Gap:
    return Gap(_text(values["stream"]), _number(values["start"]), _number(values["lost_s"]))


def _history(values: Mapping[str, Any]) -> History:
    stream, times = _text(values["stream"]), tuple(_number(time) for time in _each(values["times"]))
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("times ascend")
    return History(
        stream,
        times,
        tags=_probabilities(values["tags"], len(times)),
        concepts=_probabilities(values["concepts"], len(times)),
        present=tuple(_text(name) for name in _each(values["present"])),
        events=tuple(_event({**_is(event, dict), "stream": stream}) for event in _each(values["events"])),
        gaps=tuple(_gap({**_is(gap, dict), "stream": stream}) for gap in _each(values["gaps"])),
    )


def _end(values: Mapping[str, Any]) -> End:
    frames, summary = _whole(values["frames"]), _numbers(values["summary"])
    concepts = _numbers(values.get("concepts", {}))
    present_s = _numbers(values.get("present_s", {}))
    return End(_text(values["stream"]), _number(values["seconds"]), frames, summary, concepts, present_s)


def _error(values: Mapping[str, Any]) -> Error:
    stream = values.get("stream")
    return Error(_text(values["message"]), None if stream is None else _text(stream))


def _ready(values: Mapping[str, Any]) -> Ready:
    return Ready(_text(values["stream"]), _whole(values["position"]))


_READERS: dict[str, Callable[[Mapping[str, Any]], Message]] = {
    "hello": _hello,
    "frame": _frame,
    "event": _event,
    "gap": _gap,
    "history": _history,
    "end": _end,
    "error": _error,
    "ready": _ready,
}


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


def _each(value: Any) -> list[Any]:
    return _is(value, list)


def _numbers(value: Any) -> dict[str, float]:
    return {_text(name): _number(number) for name, number in _is(value, dict).items()}


def _probabilities(value: Any, count: int) -> dict[str, tuple[float, ...]]:
    """Return `count` probabilities of each name."""
    columns = {_text(name): tuple(map(_number, _each(column))) for name, column in _is(value, dict).items()}
    for name, column in columns.items():
        if len(column) != count:
            raise ValueError(f"{len(column)} values of {name!r} for {count} times")
        if count and not (min(column) >= 0 and max(column) <= 1):
            raise ValueError(f"{name!r} has a value that is no probability")
    return columns
