"""The wire format, byte for byte: others parse it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Hello, Message, Ready

TAGS = ("guitar", "female vocal")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.3, 0.123456)),
            '{"type":"hello","protocol":1,"server":"streamtag 0.1.0","model":"small",'
            '"tags":["guitar","female vocal"],"sample_rate":16000,"hop_s":0.256,'
            '"window_s":0.512,"lookahead_s":0.384,"thresholds":[0.3,0.1235]}',
        ),
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
        (Gap("mic", 7.1, 0.3), '{"type":"gap","stream":"mic","start":7.1,"lost_s":0.3}'),
        (
            End("song.mp3", 29.1, 114, {"guitar": 0.83}),
            '{"type":"end","stream":"song.mp3","seconds":29.1,"frames":114,"summary":{"guitar":0.83}}',
        ),
        (Error("unplugged", "mic"), '{"type":"error","message":"unplugged","stream":"mic"}'),
        (Error("song.mp3: no such file"), '{"type":"error","message":"song.mp3: no such file"}'),
        (Ready("mic", 4096), '{"type":"ready","stream":"mic","position":4096}'),
    ],
)
def test_a_message_is_written_as_this_line(message: Message, line: str) -> None:
    assert message.to_json() == line


@given(st.text(), st.floats(0, 1))
def test_any_name_and_probability_fit_in_one_line_of_json(name: str, probability: float) -> None:
    line = Frame(name, 0, -0.256, 0.256, {name: probability}).to_json()
    assert "\n" not in line
    back = json.loads(line)
    assert back["stream"] == name
    assert back["tags"][name] == pytest.approx(probability, abs=5e-5)


def test_a_probability_of_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Frame("song.mp3", 0, 0.0, 0.5, {"guitar": float("nan")}).to_json()


def test_names_keep_their_script() -> None:
    assert "Müller – 東京.mp3" in Error("Müller – 東京.mp3: is empty").to_json()
