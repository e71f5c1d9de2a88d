"""The messages of protocol 1: one JSON object per line, or per WebSocket message.

Frames and summaries hold the probabilities of the model's tags, and beside them those of its concepts: groups of tags
that mean the same. Events are about concepts. An event names its concept twice, as `concept` and as `tag`, so that a
reader of `tag` needs no change; in a model without groups each tag is a concept, and the names are those of the tags.
Recordings and servers from before concepts have none of these fields, and their events are about tags.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain, islice
from json.encoder import encode_basestring
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

PROTOCOL = 1
DECIMALS = 4  # of a probability
TIME_DECIMALS = 3  # of a time in seconds
MAX_HELLO_STREAMS = 64  # named in a hello
JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Message(ABC):
    """Base of all messages. `type` names the kind on the wire."""

    type: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, **self._body()}

    def to_json(self) -> str:
        return JSON.encode(self.to_dict())

    @abstractmethod
    def _body(self) -> dict[str, Any]:
        """The fields after `type`."""


@dataclass(frozen=True)
class Concept:
    """A group of tags that mean the same. category: genre, instrument, voice or mood.

    threshold: the probability from which on it counts as present; None: never, for lack of evidence.
    """

    name: str
    category: str
    tags: tuple[str, ...]
    threshold: float | None

    def to_dict(self) -> dict[str, Any]:
        threshold = None if self.threshold is None else round(self.threshold, DECIMALS)
        return {"name": self.name, "category": self.category, "tags": list(self.tags), "threshold": threshold}


@dataclass(frozen=True)
class Hello(Message):
    """The first message: what the messages are made by, and in which units.

    thresholds: for each tag, the probability from which on it counts as present. concepts: omitted if there are none.
    streams: those that run while the subscriber connects, the one with the latest message first, and before it the one
    that was asked for; at most MAX_HELLO_STREAMS. None, and omitted: unknown, as in recordings and from older servers.
    """

    type = "hello"
    server: str
    model: str
    tags: tuple[str, ...]
    sample_rate: int
    hop_s: float
    window_s: float
    lookahead_s: float
    thresholds: tuple[float, ...]
    concepts: tuple[Concept, ...] = ()
    streams: tuple[str, ...] | None = None

    def _body(self) -> dict[str, Any]:
        body = {
            "protocol": PROTOCOL,
            "server": self.server,
            "model": self.model,
            "tags": list(self.tags),
            "sample_rate": self.sample_rate,
            "hop_s": self.hop_s,
            "window_s": self.window_s,
            "lookahead_s": self.lookahead_s,
            "thresholds": [round(threshold, DECIMALS) for threshold in self.thresholds],
        }
        if self.concepts:
            body["concepts"] = [concept.to_dict() for concept in self.concepts]
        if self.streams is not None:
            body["streams"] = list(self.streams)
        return body


@dataclass(frozen=True)
class Frame(Message):
    """The probabilities of one frame. start, end: its window, in stream seconds (start is below 0 for frame 0).

    concepts: the same for concepts. latency_s: of a live stream, from the sound at the window's centre to this
    message. dropped: frames before this one that its reader was too slow for. These are omitted if they are empty.
    """

    type = "frame"
    stream: str
    frame: int
    start: float
    end: float
    tags: Mapping[str, float]
    latency_s: float | None = None
    dropped: int = 0
    concepts: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the tags, then of the concepts [L]."""
        return (*self.tags, *self.concepts)

    @cached_property
    def rounded(self) -> NDArray[np.float64]:
        """The probabilities in the order of the labels [L], rounded to DECIMALS."""
        values = chain(self.tags.values(), self.concepts.values())
        return np.fromiter(values, np.float64, len(self.labels)).round(DECIMALS)  # 4 times as fast as rounding each

    def values_of(self, labels: tuple[str, ...], tags: int, missing: float) -> NDArray[np.float64]:
        """Return the probabilities of these labels [L], first so many tags; `missing` where it has none."""
        if self.labels == labels:
            return self.rounded
        concepts = (self.concepts.get(name, missing) for name in labels[tags:])
        return np.array([*(self.tags.get(name, missing) for name in labels[:tags]), *concepts])

    def _body(self) -> dict[str, Any]:
        rounded = zip(self.labels, self.rounded.tolist(), strict=True)
        body = {
            "stream": self.stream,
            "frame": self.frame,
            "start": round(self.start, TIME_DECIMALS),
            "end": round(self.end, TIME_DECIMALS),
            "tags": dict(islice(rounded, len(self.tags))),
        }
        if self.concepts:
            body["concepts"] = dict(rounded)
        if self.latency_s is not None:
            body["latency_s"] = round(self.latency_s, TIME_DECIMALS)
        if self.dropped:
            body["dropped"] = self.dropped
        return body


@dataclass(frozen=True)
class Event(Message):
    """A concept went on or off. time: stream seconds. tag: the concept's name too, or a tag's if concept is None."""

    type = "event"
    stream: str
    tag: str
    state: Literal["on", "off"]
    time: float
    concept: str | None = None

    def _body(self) -> dict[str, Any]:
        concept = {} if self.concept is None else {"concept": self.concept}
        time = round(self.time, TIME_DECIMALS)
        return {"stream": self.stream, "tag": self.tag, **concept, "state": self.state, "time": time}


@dataclass(frozen=True)
class Gap(Message):
    """Audio that was lost: where it began, and how much of it."""

    type = "gap"
    stream: str
    start: float
    lost_s: float

    def _body(self) -> dict[str, Any]:
        start, lost = round(self.start, TIME_DECIMALS), round(self.lost_s, TIME_DECIMALS)
        return {"stream": self.stream, "start": start, "lost_s": lost}


@dataclass(frozen=True)
class History(Message):
    """The recent past of a stream, for a subscriber that comes late: sent before the stream's first frame.

    times [F]: the centres of the windows, in stream seconds, ascending. tags, concepts: [F] probabilities of each.
    present: the concepts that are on now, whenever that began; tags in a model without concepts. events, gaps: those
    since the first of the times.
    """

    type = "history"
    stream: str
    times: tuple[float, ...]
    tags: Mapping[str, tuple[float, ...]]
    concepts: Mapping[str, tuple[float, ...]]
    present: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def to_json(self) -> str:
        # The same as JSON.encode(self.to_dict()), several times as fast: there are ten thousands of numbers.
        head, tail = JSON.encode({"type": self.type, **self._head()}), JSON.encode(self._tail())
        return f'{head[:-1]},"tags":{_columns_json(self.tags)},"concepts":{_columns_json(self.concepts)},{tail[1:]}'

    def _body(self) -> dict[str, Any]:
        tags, concepts = _rounded(self.tags), _rounded(self.concepts)
        return {**self._head(), "tags": tags, "concepts": concepts, **self._tail()}

    def _head(self) -> dict[str, Any]:
        return {"stream": self.stream, "times": np.round(self.times, TIME_DECIMALS).tolist()}

    def _tail(self) -> dict[str, Any]:
        """The events and gaps are messages without type and stream."""
        events, gaps = ([each.to_dict() for each in messages] for messages in (self.events, self.gaps))
        for item in (*events, *gaps):
            del item["type"], item["stream"]
        return {"present": list(self.present), "events": events, "gaps": gaps}


@dataclass(frozen=True)
class End(Message):
    """The end of a stream. summary: mean probability of each tag over the frames; concepts: that of each concept.

    present_s: for how many seconds each concept was on; only those that were. It is omitted if it is empty.
    """

    type = "end"
    stream: str
    seconds: float
    frames: int
    summary: Mapping[str, float]
    concepts: Mapping[str, float] = field(default_factory=dict)
    present_s: Mapping[str, float] = field(default_factory=dict)

    def _body(self) -> dict[str, Any]:
        seconds = round(self.seconds, TIME_DECIMALS)
        summary = _rounded(self.summary)
        concepts = {"concepts": _rounded(self.concepts)} if self.concepts else {}
        body = {"stream": self.stream, "seconds": seconds, "frames": self.frames, "summary": summary, **concepts}
        if self.present_s:
            body["present_s"] = {name: round(value, TIME_DECIMALS) for name, value in self.present_s.items()}
        return body


@dataclass(frozen=True)
class Error(Message):
    """Something failed; the message is for people. stream: the one that failed, if it was one."""

    type = "error"
    message: str
    stream: str | None = None

    def _body(self) -> dict[str, Any]:
        return {"message": self.message} | ({} if self.stream is None else {"stream": self.stream})


@dataclass(frozen=True)
class Ready(Message):
    """Asks a producer to send. position: of the sample that should come first, counted from the stream's start, per
    channel, at the producer's rate; 0 for a new stream.
    """

    type = "ready"
    stream: str
    position: int

    def _body(self) -> dict[str, Any]:
        return {"stream": self.stream, "position": self.position}


def _rounded(values: Mapping[str, float | Sequence[float]]) -> dict[str, Any]:
    """Return probabilities, or columns of them, by name, rounded to DECIMALS."""
    rounded = np.array(list(values.values()), np.float64).round(DECIMALS)
    return dict(zip(values, rounded.tolist(), strict=True))


def _columns_json(columns: Mapping[str, Sequence[float]]) -> str:
    """Return probabilities by name as JSON. Raises ValueError for one that is not between 0 and 1."""
    values = np.array(list(columns.values()), np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a history has a value that is no probability")
    texts = _probability_texts()[np.rint(values * 10**DECIMALS).astype(np.int64)].tolist()
    items = (f"{encode_basestring(name)}:[{','.join(row)}]" for name, row in zip(columns, texts, strict=True))
    return f"{{{','.join(items)}}}"


@cache
def _probability_texts() -> NDArray[np.object_]:
    """Return the JSON of all probabilities that are rounded to DECIMALS, ascending."""
    return np.array([JSON.encode(number / 10**DECIMALS) for number in range(10**DECIMALS + 1)], object)
