"""What an OSC receiver gets, read by python-osc's own reader."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pythonosc.osc_message import OscMessage

from streamtag.errors import OutputError, SpecError
from streamtag.protocol.messages import Concept, End, Error, Event, Frame, Gap
from streamtag.protocol.selection import Selection
from streamtag.sinks.osc import PREFIX, OscSink, OscTarget, addresses


class Receiver:
    """A UDP port of this machine, and what comes in at it."""

    def __init__(self, family: socket.AddressFamily, host: str) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(5)
        self.target = OscTarget(host, self.socket.getsockname()[1])

    def take(self, count: int) -> list[tuple[Any, ...]]:
        messages = [OscMessage(self.socket.recv(65536)) for _ in range(count)]
        return [(message.address, *message.params) for message in messages]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    place = Receiver(socket.AF_INET, "127.0.0.1")
    yield place
    place.socket.close()


def test_a_frame_is_one_number_per_tag_and_then_its_time(
    receiver: Receiver, selection: Selection, frames: list[Frame], probs: NDArray[np.float64]
) -> None:
    with OscSink(receiver.target, selection) as osc:
        osc.write(frames[30])
        got = receiver.take(7)
        assert (osc.sent, osc.failed) == (7, 0)
    assert [message[0] for message in got] == [
        *(f"/streamtag/{name}" for name in ("guitar", "slow", "drums", "male_vocal", "piano", "harp")),
        "/streamtag/frame",
    ]
    assert [message[1] for message in got[:-1]] == pytest.approx(probs[30].tolist(), abs=1e-6)
    assert got[-1] == ("/streamtag/frame", "song.mp3", 30, pytest.approx(7.68))


def test_concepts_stand_beside_the_tags_and_each_of_several_streams_has_addresses_of_its_own(
    receiver: Receiver, selection: Selection
) -> None:
    groups = (Concept("any voice", "voice", ("male vocal",), None), Concept("slow", "mood", ("slow",), 0.5))
    chosen = Selection.of(selection.tags, selection.tag_thresholds, groups, concept_names=["any voice"])
    tags, concepts = dict.fromkeys(selection.tags, 0.0), {"any voice": 0.75, "slow": 0.5}
    with OscSink(receiver.target, chosen, ["radio 1", "radio/1", "frame"]) as osc:
        for stream in ("radio 1", "radio/1", "frame"):
            osc.write(Frame(stream, 3, 0.5, 1.0, tags, concepts=concepts))
        got = receiver.take(9)
    assert [message[0] for message in got if message[0] != "/streamtag/frame"] == [
        *("/streamtag/radio_1/male_vocal", "/streamtag/radio_1/concept/any_voice"),
        *("/streamtag/radio_1_2/male_vocal", "/streamtag/radio_1_2/concept/any_voice"),
        *("/streamtag/frame_2/male_vocal", "/streamtag/frame_2/concept/any_voice"),
    ]
    assert {message[1] for message in got if "/concept/" in message[0]} == {0.75}
    assert [message[1] for message in got if message[0] == "/streamtag/frame"] == ["radio 1", "radio/1", "frame"]


def test_other_messages_are_sent_with_names_as_plain_text(receiver: Receiver, selection: Selection) -> None:
    with OscSink(receiver.target, selection) as osc:
        osc.write(Event("mic", "male vocal", "on", 3))
        osc.write(Gap("mic", 7.5, 0.25))
        osc.write(Error("unplugged", "mic"))
        osc.write(Error("no stream's"))
        osc.write(Gap("a\0b\ud800\n", 1.0, 0.5))
        osc.write(End("mic", 10.25, 40, {}))
        assert receiver.take(6) == [
            ("/streamtag/event", "mic", "male vocal", "on", 3.0),
            ("/streamtag/gap", "mic", 7.5, 0.25),
            ("/streamtag/error", "mic", "unplugged"),
            ("/streamtag/error", "", "no stream's"),
            ("/streamtag/gap", "a?b??", 1.0, 0.5),
            ("/streamtag/end", "mic", 10.25, 40),
        ]


def test_times_and_numbers_have_32_bits_even_after_months(receiver: Receiver, selection: Selection) -> None:
    """Receivers that know no 64-bit types would drop the whole message."""
    with OscSink(receiver.target, selection) as osc:
        osc.write(Frame("mic", 2**40, 1e9, 1e9 + 0.512, dict.fromkeys(selection.tags, 0.0)))
        raw = [receiver.socket.recv(4096) for _ in range(7)]
    assert b",sif\0" in raw[-1]
    assert OscMessage(raw[-1]).params[1] == 2**31 - 1
    assert all(b",f\0\0" in message for message in raw[:-1])


def test_what_cannot_be_sent_is_counted(selection: Selection, receiver: Receiver, frames: list[Frame]) -> None:
    with OscSink(receiver.target, selection) as osc:
        osc.write(Error("x" * 100_000))  # no datagram is that long
        assert (osc.sent, osc.failed) == (0, 1)
        osc.write(frames[0])
        assert len(receiver.take(7)) == 7
        assert (osc.sent, osc.failed) == (7, 1)


def test_a_host_name_is_resolved_once(
    receiver: Receiver, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = Mock(wraps=socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with OscSink(OscTarget("localhost", receiver.target.port), selection) as osc:
        for number in range(3):
            osc.write(Gap("mic", number, 0.5))
        assert len(receiver.take(3)) == 3  # at the IPv4 address, where receivers listen
    assert [call.args[0] for call in look_up.mock_calls].count("localhost") == 1


def test_ipv6_reaches_its_receiver(selection: Selection) -> None:
    try:
        receiver = Receiver(socket.AF_INET6, "::1")
    except OSError:
        pytest.skip("needs IPv6 on this machine")
    with receiver.socket, OscSink(OscTarget.parse(f"[::1]:{receiver.target.port}"), selection) as osc:
        osc.write(Gap("mic", 1.0, 0.5))
        assert receiver.take(1) == [("/streamtag/gap", "mic", 1.0, 0.5)]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "x\udc80y", "1.2.3.4.5"])
def test_an_unknown_host_is_an_output_error(selection: Selection, host: str) -> None:
    with pytest.raises(OutputError, match="OSC: ") as failure:
        OscSink(OscTarget(host, 9000), selection)
    assert "\n" not in str(failure.value)


def test_without_python_osc_the_error_names_the_package(selection: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pythonosc")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pythonosc", None)
    with pytest.raises(OutputError, match=r"pip install 'streamtag\[osc\]'"):
        OscSink(OscTarget("127.0.0.1", 9000), selection)


@pytest.mark.parametrize("text", ["", "9000", ":9000", "host:0", "host:65536", "host:x", "::1:9000", "[]:1", "[::1]"])
def test_an_invalid_target_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="HOST:PORT"):
        OscTarget.parse(text)


def test_addresses_are_valid_and_not_reserved() -> None:
    names = ("female_vocal", "frame_2", "a_b", "a_b_2", "drum_&_bass", "_", "__2")
    tags = ["female vocal", "frame", "a/b", "a b", "drum & bass", "é", ""]
    assert addresses(tags) == tuple(f"/streamtag/{name}" for name in names)


@given(st.lists(st.text(max_size=12) | st.sampled_from(["a", "a_2", "a b", "end", "end_2"]), unique=True, max_size=12))
def test_any_tags_have_distinct_addresses(tags: list[str]) -> None:
    found = addresses(tags)
    assert len(set(found)) == len(tags) == len(found)
    for address in found:
        name = address.removeprefix(PREFIX)
        assert name
        assert not set(name) & set(" #*,/?[]{}")
        assert all("!" <= letter <= "~" for letter in name)
        assert name not in ("frame", "event", "gap", "error", "end")
