"""What subscribers and producers may ask for, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.audio.pcm import PcmFormat
from streamtag.errors import SpecError
from streamtag.protocol.messages import Concept, Hello
from streamtag.protocol.selection import MessageFilter
from streamtag.server.query import IngestQuery, RequestTarget, SubscribeQuery

HELLO = Hello("streamtag", "small", ("guitar", "male vocal"), 16000, 0.256, 0.512, 0.384, (0.5, 0.5))


def _ingest(path: str) -> IngestQuery:
    return IngestQuery.parse(RequestTarget.parse(path), HELLO)


def _subscribe(path: str) -> SubscribeQuery | None:
    return SubscribeQuery.parse(RequestTarget.parse(path), HELLO)


@given(st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable()))
def test_any_stream_can_be_subscribed_to_by_its_name(name: str) -> None:
    query = _subscribe(f"/streams/{quote(name, safe='')}?top=1")
    assert query == SubscribeQuery(name, MessageFilter(top=1))


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("120", 120), ("300", 300)])
def test_a_subscriber_asks_for_the_past_in_seconds(value: str, seconds: int) -> None:
    assert _subscribe(f"/?history={value}") == SubscribeQuery(None, MessageFilter(), seconds)


def test_tags_are_found_in_any_case_and_all_of_them_are_no_filter() -> None:
    assert _subscribe("/?tags=GUITAR&min=0.25") == SubscribeQuery(
        None, MessageFilter(frozenset({"guitar"}), None, 0.25)
    )
    assert _subscribe("/?tags=male+vocal,guitar") == _subscribe("/?token=x") == SubscribeQuery(None, MessageFilter())
    assert _subscribe("/elsewhere") is None


def test_concepts_are_chosen_by_name_beside_the_tags() -> None:
    hello = replace(HELLO, concepts=(Concept("men", "voice", ("male vocal",), 0.5), Concept("all", "mood", (), None)))

    def filter_of(path: str) -> MessageFilter:
        query = SubscribeQuery.parse(RequestTarget.parse(path), hello)
        assert query is not None
        return query.message_filter

    men = frozenset({"male vocal"}), frozenset({"men"})
    assert filter_of("/?concepts=MEN&min=0.25") == MessageFilter(men[0], None, 0.25, men[1])
    assert filter_of("/?concepts=men&tags=all&top=2") == MessageFilter(None, 2, concepts=men[1])
    assert filter_of("/?tags=male+vocal") == MessageFilter(*men[:1], concepts=men[1])
    with pytest.raises(SpecError, match="mem: not a concept"):
        filter_of("/?concepts=mem")


def test_a_producer_describes_its_audio_and_filters_its_messages() -> None:
    query = _ingest(
        "/ingest/Halle%202%20%E2%80%93%20M%C3%BCller?rate=48000&format=f32le&channels=2&position=96000&top=1&token=x"
    )
    expected = IngestQuery("Halle 2 – Müller", PcmFormat(48000, "f32le", 2), 96000, MessageFilter(top=1))
    assert query == expected
    assert _ingest("/ingest/mic") == IngestQuery("mic", PcmFormat(16000, "s16le", 1), None, MessageFilter())


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/ingest/", "1 to 64 characters, not 0"),
        ("/ingest/" + "x" * 65, "1 to 64 characters, not 65"),
        ("/ingest/a/b", "without /"),
        ("/ingest/a%2Fb", "without /"),
        ("/ingest/%20a", "without outer spaces"),
        ("/ingest/a%0Ab", "printable"),
        ("/ingest/a%E2%80%AEb", "printable"),  # would reverse the rest of a line
        ("/ingest/%ff", "not UTF-8"),
        ("/ingest/mic?rate=0", "rate must lie between"),
        ("/ingest/mic?rate=1e4", "rate must be a whole number, not '1e4'"),
        ("/ingest/mic?rate=%D9%A3%D9%A3%D9%A3%D9%A3", "rate must be a whole number"),
        ("/ingest/mic?format=mp3", "format must be s16le or f32le, not 'mp3'"),
        ("/ingest/mic?channels=0", "channels must lie between 1 and 8"),
        ("/ingest/mic?position=", "position must be a whole number, not ''"),
        ("/ingest/mic?top=-1", "top must be a whole number, not '-1'"),
        ("/ingest/mic?top=%D9%A3", "top must be a whole number"),
        ("/ingest/mic?top=0", "top must be at least 1, not 0"),
        ("/ingest/mic?top=%ff", "cannot be read"),
        ("/ingest/mic?min=2", "min must be a probability between 0 and 1, not 2.0"),
        ("/ingest/mic?tags=", "no tags chosen"),
        ("/ingest/mic?tags=gitar", "not a tag of this model"),
        ("/ingest/mic?rates=8000", "'rates' is unknown here"),
        ("/ingest/mic?rate=8000&rate=8000", "rate is given twice"),
    ],
)
def test_a_bad_parameter_is_refused_in_one_line(path: str, reason: str) -> None:
    with pytest.raises(SpecError) as error:
        _ingest(path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(min_size=1, max_size=64))
def test_a_stream_s_name_is_printable_or_refused(name: str) -> None:
    try:
        path = f"/ingest/{quote(name, safe='')}"
    except UnicodeEncodeError:
        return  # half a surrogate pair cannot be sent
    good = name.isprintable() and "/" not in name and name.strip() == name
    try:
        assert _ingest(path).stream == name
    except SpecError:
        assert not good
    else:
        assert good


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_request_is_a_query_or_refused(text: str) -> None:
    for path in (text, f"/?{text}", f"/streams/{text}"):
        try:
            _subscribe(path)
        except SpecError:
            continue
    for path in (f"/ingest/{text}", f"/ingest/mic?{text}", f"/ingest/mic?rate={text}", f"/ingest/mic?position={text}"):
        try:
            query = _ingest(path)
        except SpecError:
            continue
        assert 1 <= len(query.stream) <= 64


def test_the_state_of_a_stream_has_its_own_address() -> None:
    assert RequestTarget.parse("/ingest/mic?x=y").is_ingest
    state = RequestTarget.parse("/streams/Halle%202/state?token=x")
    assert state.is_state
    assert state.state_stream == "Halle 2"
    for path in ("/streams/mic", "/streams/a/b/state", "/streams/state", "/state", "/ingest/mic/state", "/"):
        assert not RequestTarget.parse(path).is_state
    for path in ("/streams//state", "/streams/mic/state?rate=1"):
        with pytest.raises(SpecError):
            _ = RequestTarget.parse(path).state_stream
