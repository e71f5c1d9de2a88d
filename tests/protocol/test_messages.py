"""The wire format, byte for byte; what is read from it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.errors import ProtocolError
from streamtag.protocol.messages import JSON, Concept, End, Error, Event, Frame, Gap, Hello, History, Message, Ready
from streamtag.protocol.reader import MAX_MESSAGE_CHARS, parse

HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "female vocal"), 16000, 0.256, 0.512, 0.384, (0.3, 0.123456))

CONCEPTS = (
    Concept("female vocals", "voice", ("female vocal",), 0.41234),
    Concept("any", "mood", ("guitar", "female vocal"), None),
)

HELLO_LINE = (
    '{"type":"hello","protocol":1,"server":"streamtag 0.1.0","model":"small",'
    '"tags":["guitar","female vocal"],"sample_rate":16000,"hop_s":0.256,'
    '"window_s":0.512,"lookahead_s":0.384,"thresholds":[0.3,0.1235]}'
)
LINES: list[tuple[Message, str]] = [
    (HELLO, HELLO_LINE),
    (
        Frame("song.mp3", 12, 2.816, 3.328, {"guitar": 0.91, "female vocal": 0.123456}),
        '{"type":"frame","stream":"song.mp3","frame":12,"start":2.816,"end":3.328,'
        '"tags":{"guitar":0.91,"female vocal":0.1235}}',
    ),
    (
        Frame("mic", 12, 2.816, 3.328, {"guitar": 0.91}, latency_s=0.40149, dropped=3),
        '{"type":"frame","stream":"mic","frame":12,"start":2.816,"end":3.328,'
        '"tags":{"guitar":0.91},"latency_s":0.401,"dropped":3}',
    ),
    (
        Event("mic", "guitar", "on", 3.07),
        '{"type":"event","stream":"mic","tag":"guitar","state":"on","time":3.07}',
    ),
    (
        replace(HELLO, concepts=CONCEPTS),
        HELLO_LINE[:-1] + ',"concepts":'
        '[{"name":"female vocals","category":"voice","tags":["female vocal"],"threshold":0.4123},'
        '{"name":"any","category":"mood","tags":["guitar","female vocal"],"threshold":null}]}',
    ),
    (replace(HELLO, streams=("hall 2", "mic")), HELLO_LINE[:-1] + ',"streams":["hall 2","mic"]}'),
    (
        Frame("mic", 12, 2.816, 3.328, {"guitar": 0.91}, concepts={"any": 0.56789}),
        '{"type":"frame","stream":"mic","frame":12,"start":2.816,"end":3.328,'
        '"tags":{"guitar":0.91},"concepts":{"any":0.5679}}',
    ),
    (
        Event("mic", "any", "off", 3.07, concept="any"),
        '{"type":"event","stream":"mic","tag":"any","concept":"any","state":"off","time":3.07}',
    ),
    (
        End("song.mp3", 29.1, 114, {"guitar": 0.83}, {"any": 0.5}),
        '{"type":"end","stream":"song.mp3","seconds":29.1,"frames":114,"summary":{"guitar":0.83},"concepts":{"any":0.5}}',
    ),
    (
        End("song.mp3", 29.1, 114, {"guitar": 0.83}, {"any": 0.5}, {"any": 17.92049}),
        '{"type":"end","stream":"song.mp3","seconds":29.1,"frames":114,"summary":{"guitar":0.83},"concepts":{"any":0.5},'
        '"present_s":{"any":17.92}}',
    ),
    (Gap("mic", 7.1, 0.3), '{"type":"gap","stream":"mic","start":7.1,"lost_s":0.3}'),
    (
        End("song.mp3", 29.1, 114, {"guitar": 0.83}),
        '{"type":"end","stream":"song.mp3","seconds":29.1,"frames":114,"summary":{"guitar":0.83}}',
    ),
    (
        History(
            "mic",
            (0.0, 0.25649),
            {"guitar": (0.0, 0.123456)},
            {'any "1"': (1.0, 0.5)},
            ('any "1"',),
            (Event("mic", "any", "on", 0.25649, concept="any"), Event("mic", "guitar", "off", 0.3)),
            (Gap("mic", 0.1, 0.05),),
        ),
        '{"type":"history","stream":"mic","times":[0.0,0.256],"tags":{"guitar":[0.0,0.1235]},'
        '"concepts":{"any \\"1\\"":[1.0,0.5]},"present":["any \\"1\\""],'
        '"events":[{"tag":"any","concept":"any","state":"on","time":0.256},{"tag":"guitar","state":"off","time":0.3}],'
        '"gaps":[{"start":0.1,"lost_s":0.05}]}',
    ),
    (Error("unplugged", "mic"), '{"type":"error","message":"unplugged","stream":"mic"}'),
    (Error("Müller – 東京.mp3: is empty"), '{"type":"error","message":"Müller – 東京.mp3: is empty"}'),
    (Ready("mic", 4096), '{"type":"ready","stream":"mic","position":4096}'),
]

OPTIONAL = ("thresholds", "latency_s", "dropped", "stream", "concepts", "concept", "present_s", "streams")


MESSAGES = [message for message, _ in LINES]
HISTORY = next(message for message in MESSAGES if isinstance(message, History))


@pytest.mark.parametrize(("message", "line"), LINES)
def test_a_message_is_written_as_this_line_and_read_again(message: Message, line: str) -> None:
    assert message.to_json() == line
    for parsed in (parse(line), parse(line.encode())):
        assert type(parsed) is type(message)
        assert parsed.to_json() == line


@given(st.text(), st.floats(0, 1))
def test_any_name_and_probability_fit_in_one_line_of_json(name: str, probability: float) -> None:
    line = Frame(name, 0, -0.256, 0.256, {name: probability}).to_json()
    assert "\n" not in line
    back = json.loads(line)
    assert back["stream"] == name
    assert back["tags"][name] == pytest.approx(probability, abs=5e-5)


def test_unknown_fields_and_types_are_ignored() -> None:
    assert parse(json.dumps({**Gap("mic", 1.0, 0.5).to_dict(), "why": "unplugged"})) == Gap("mic", 1.0, 0.5)
    assert parse('{"type":"weather","rain":true}') is None


def test_a_history_is_written_as_any_message() -> None:
    numbers = tuple(number / 10_000 for number in range(10_001))
    history = History("mic", tuple(range(10_001)), {"guitar": numbers}, {"any": numbers[::-1]})
    assert history.to_json() == JSON.encode(history.to_dict())
    assert parse(history.to_json()) == history


@pytest.mark.parametrize("value", [float("nan"), -0.001, 1.001, float("inf")])
def test_a_history_of_what_is_no_probability_cannot_be_written(value: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        History("mic", (0.0,), {"guitar": (value,)}, {}).to_json()


def test_a_hello_without_thresholds_is_from_an_older_server() -> None:
    older = {name: value for name, value in HELLO.to_dict().items() if name != "thresholds"}
    parsed = parse(json.dumps(older))
    assert isinstance(parsed, Hello)
    assert parsed.thresholds == (0.5, 0.5)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        (HELLO, {"protocol": 2}),
        (HELLO, {"thresholds": [0.5]}),
        (HELLO, {"streams": "mic"}),
        (HELLO, {"streams": [3]}),
        (HELLO, {"tags": "guitar"}),
        (HELLO, {"concepts": {"name": "any"}}),
        (HELLO, {"concepts": [{"name": "any", "category": "mood", "tags": ["guitar"]}]}),
        (HELLO, {"concepts": [{"name": "any", "category": "mood", "tags": "guitar", "threshold": 0.5}]}),
        (HELLO, {"concepts": [{"name": "any", "category": "mood", "tags": [], "threshold": "low"}]}),
        (MESSAGES[1], {"concepts": ["any"]}),
        (MESSAGES[1], {"concepts": {"any": "loud"}}),
        (MESSAGES[3], {"concept": 3}),
        (MESSAGES[1], {"stream": 3}),
        (MESSAGES[1], {"frame": 1.5}),
        (MESSAGES[1], {"frame": True}),
        (MESSAGES[1], {"tags": {"guitar": "loud"}}),
        (MESSAGES[1], {"tags": ["guitar"]}),
        (MESSAGES[1], {"start": float("nan")}),
        (MESSAGES[1], {"end": 10**400}),
        (MESSAGES[3], {"state": "maybe"}),
        (HISTORY, {"times": [0.0]}),
        (HISTORY, {"times": [0.5, 0.0]}),
        (HISTORY, {"times": [0.0, float("inf")]}),
        (HISTORY, {"tags": {"guitar": [0.1, 0.2, 0.3]}}),
        (HISTORY, {"tags": {"guitar": [0.1, float("nan")]}}),
        (HISTORY, {"tags": {"guitar": [0.1, 1.01]}}),
        (HISTORY, {"concepts": {"any": [-0.1, 0.5]}}),
        (HISTORY, {"concepts": {"any": [True, 0.5]}}),
        (HISTORY, {"concepts": {"any": 0.5}}),
        (HISTORY, {"present": "any"}),
        (HISTORY, {"events": [{"tag": "any", "state": "maybe", "time": 0.1}]}),
        (HISTORY, {"events": ["on"]}),
        (HISTORY, {"gaps": [{"start": 0.1}]}),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(message: Message, changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse(json.dumps({**message.to_dict(), **changes}))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_a_missing_field_is_refused(message: Message) -> None:
    required = [name for name in message.to_dict() if name not in OPTIONAL]
    for name in required:
        fewer = {key: value for key, value in message.to_dict().items() if key != name}
        with pytest.raises(ProtocolError):
            parse(json.dumps(fewer))


@pytest.mark.parametrize("line", ["", "nonsense", "[]", "7", "{}", '{"type":7}', b"\xff\xfe", "[" * 100_000])
def test_a_line_that_is_not_a_message_is_refused(line: str | bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message"):
        parse(line)


def test_a_line_that_is_too_long_is_not_parsed() -> None:
    with pytest.raises(ProtocolError, match="too long"):
        parse(" " * (MAX_MESSAGE_CHARS + 1))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["type", "stream", "tags"]), inner),
        max_leaves=12,
    ),
    st.sampled_from(["hello", "frame", "event", "gap", "history", "end", "error"]),
)
def test_any_json_gives_a_message_or_a_protocol_error(values: Any, kind: str) -> None:
    line = json.dumps({**values, "type": kind} if isinstance(values, dict) else values)
    try:
        found = parse(line)
    except ProtocolError:
        return
    assert found is None or isinstance(found, Message)
