"""What producers may say, and what they may not."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.audio.pcm import PcmFormat
from streamtag.errors import SpecError
from streamtag.protocol.messages import Hello
from streamtag.server.config import IngestConfig
from streamtag.server.ingest_config import IngestWish, is_ingest, is_state, named_by_state
from streamtag.server.query import RequestTarget
from streamtag.server.token_bucket import BURST, RATE, TokenBucket

HELLO = Hello("streamtag", "small", ("guitar", "male vocal"), 16000, 0.256, 0.512, 0.384, (0.5, 0.5))


def _wish(path: str) -> IngestWish:
    return IngestWish.of(RequestTarget.of(path), HELLO)


def test_a_producer_says_what_it_sends_and_what_it_wants_to_hear() -> None:
    wish = _wish(
        "/ingest/Halle%202%20%E2%80%93%20M%C3%BCller?rate=48000&format=f32le&channels=2&position=96000&top=1&token=x"
    )
    assert wish.stream == "Halle 2 – Müller"
    assert wish.format == PcmFormat(48000, "f32le", 2)
    assert (wish.position, wish.message_filter.top) == (96000, 1)
    plain = _wish("/ingest/mic")
    assert (plain.format, plain.position, plain.message_filter.top) == (PcmFormat(16000, "s16le", 1), None, None)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/ingest/", "1 to 64 characters, not 0"),
        ("/ingest/" + "x" * 65, "1 to 64 characters, not 65"),
        ("/ingest/a/b", "without /"),
        ("/ingest/a%2Fb", "without /"),
        ("/ingest/%20a", "without outer spaces"),
        ("/ingest/a%20", "without outer spaces"),
        ("/ingest/a%0Ab", "can be seen"),
        ("/ingest/a%00", "can be seen"),
        ("/ingest/a%E2%80%AEb", "can be seen"),  # would turn the rest of a line around
        ("/ingest/a%C2%A0b", "can be seen"),
        ("/ingest/%ff", "no UTF-8"),
        ("/ingest/%ED%A0%80", "no UTF-8"),
        ("/ingest/mic?rate=0", "rate must lie between"),
        ("/ingest/mic?rate=1e4", "rate must be a whole number, not '1e4'"),
        ("/ingest/mic?rate=-8000", "rate must be a whole number"),
        ("/ingest/mic?rate=99999999999999999999", "rate must be a whole number"),
        ("/ingest/mic?rate=%D9%A3%D9%A3%D9%A3%D9%A3", "rate must be a whole number"),
        ("/ingest/mic?rate=16_000", "rate must be a whole number"),
        ("/ingest/mic?format=mp3", "format must be s16le or f32le, not 'mp3'"),
        ("/ingest/mic?channels=0", "channels must lie between 1 and 8"),
        ("/ingest/mic?channels=9", "channels must lie between 1 and 8"),
        ("/ingest/mic?position=-1", "position must be a whole number"),
        ("/ingest/mic?position=", "position must be a whole number, not ''"),
        ("/ingest/mic?top=0", "top must be at least 1"),
        ("/ingest/mic?tags=gitar", "not a tag of this model"),
        ("/ingest/mic?rates=8000", "'rates' is unknown here"),
        ("/ingest/mic?rate=8000&rate=8000", "rate is given twice"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(path: str, reason: str) -> None:
    with pytest.raises(SpecError) as error:
        _wish(path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(min_size=1, max_size=64))
def test_a_name_is_a_stream_s_or_refused(name: str) -> None:
    try:
        path = f"/ingest/{quote(name, safe='')}"
    except UnicodeEncodeError:
        return  # half a pair cannot be sent
    good = name.isprintable() and "/" not in name and name.strip() == name
    try:
        assert _wish(path).stream == name
    except SpecError:
        assert not good
    else:
        assert good


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_request_of_a_producer_is_a_wish_or_refused(text: str) -> None:
    for path in (f"/ingest/{text}", f"/ingest/mic?{text}", f"/ingest/mic?rate={text}", f"/ingest/mic?position={text}"):
        try:
            wish = _wish(path)
        except SpecError:
            continue
        assert 1 <= len(wish.stream) <= 64


def test_a_stream_s_state_has_an_address_of_its_own() -> None:
    assert is_ingest(RequestTarget.of("/ingest/mic?x=y"))
    assert is_state(RequestTarget.of("/streams/Halle%202/state?token=x"))
    assert named_by_state(RequestTarget.of("/streams/Halle%202/state?token=x")) == "Halle 2"
    for path in ("/streams/mic", "/streams/a/b/state", "/streams/state", "/state", "/ingest/mic/state", "/"):
        assert not is_state(RequestTarget.of(path))
    with pytest.raises(SpecError):
        named_by_state(RequestTarget.of("/streams//state"))


@pytest.mark.parametrize(
    "settings",
    [
        {"token": ""},
        {"token": "two words"},
        {"max_per_client": 0},
        {"max_streams": 0},
        {"max_message_bytes": 0},
        {"idle_timeout_s": 0.0},
        {"stale_after_s": float("nan")},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        IngestConfig(**settings)


def test_who_sends_very_many_messages_has_to_wait() -> None:
    allowance = TokenBucket(0.0)
    assert [allowance.take(0.0) for _ in range(int(BURST))] == [0.0] * int(BURST)
    wait_s = allowance.take(0.0)
    assert BURST / 2 / RATE < wait_s < BURST / RATE
    assert allowance.take(wait_s) == 0.0


def test_the_smallest_blocks_of_a_browser_never_wait() -> None:
    allowance = TokenBucket(0.0)
    assert not any(allowance.take(number / 375) for number in range(375 * 60))
