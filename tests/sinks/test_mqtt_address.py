"""Addresses of brokers, and names as levels of topics."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamtag.errors import SpecError
from streamtag.sinks.mqtt_address import MqttAddress, concept_levels, identifier, stream_level


@given(st.lists(st.text(st.characters(exclude_categories=())), unique=True, max_size=4))
@example(["a/b", "a%2Fb", "a b", "+", "#", "\0", "", "$SYS", "\ud800", "x" * 500, "x" * 501])
def test_levels_of_streams_are_valid_and_distinct(names: list[str]) -> None:
    levels = [stream_level(name) for name in names]
    assert len(set(levels)) == len(names)
    for level in levels:
        assert re.fullmatch(r"[^+#/\0$\s]{1,150}", level)
        level.encode()
    assert levels == [stream_level(name) for name in names]


def test_ordinary_names_stay_as_they_are() -> None:
    assert [stream_level(name) for name in ("mic", "hall-2", "Höhe.mp3")] == ["mic", "hall-2", "Höhe.mp3"]
    assert concept_levels(["guitar", "male vocals", "male/vocals"]) == ("guitar", "male_vocals", "male_vocals_2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://host", MqttAddress("host", 1883)),
        ("mqtt://bob@host/home/music/", MqttAddress("host", 1883, "home/music", False, "bob", "env")),
        ("mqtts://bob:p%40ss@[::1]:99/a", MqttAddress("::1", 99, "a", True, "bob", "p@ss")),
    ],
)
def test_an_address_is_parsed(text: str, expected: MqttAddress) -> None:
    assert MqttAddress.parse(text, "env" if expected.username else None) == expected
    assert "ss" not in repr(expected).replace("is_secure", "").replace("MqttAddress", "")


@pytest.mark.parametrize(
    "text",
    [
        "host",
        "http://host/",
        "mqtt://u:secret@/x",
        "mqtt://u:secret@host:99999/",
        "mqtt://u:secret@host/a/#",
        "mqtt://u:secret@host/a//b",
        "mqtt://u:secret@host/$SYS/a",
        "mqtt://u:secret@host/a%00b",
        "mqtt://:secret@host/a",
    ],
)
def test_what_cannot_be_an_address_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(SpecError, match=r"^--mqtt ") as caught:
        MqttAddress.parse(text)
    assert "secret" not in str(caught.value)


def test_a_password_needs_a_user() -> None:
    with pytest.raises(SpecError, match="needs a user") as caught:
        MqttAddress.parse("mqtt://host/", "secret")
    assert "secret" not in str(caught.value)


def test_identifiers_are_stable_and_distinct() -> None:
    assert identifier("home", "mic 1") == identifier("home", "mic 1")
    assert len({identifier("home", name) for name in ("mic 1", "mic_1", "mic-1")}) == 3
