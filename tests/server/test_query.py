"""What subscribers and producers may ask for, and what is refused."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.audio.pcm import PcmFormat
from streamtag.errors import SpecError
from streamtag.protocol.messages import Concept, Hello
from streamtag.protocol.selection import MessageFilter
from streamtag.server.query import IngestQuery, RequestTarget, SubscribeQuery

CONCEPTS = (Concept("men", "voice", ("male vocal",), 0.5), Concept("odd", "mood", (), None))
HELLO = Hello("streamtag", "small", ("guitar", "male vocal"), 16000, 0.256, 0.512, 0.384, (0.5, 0.5), CONCEPTS)
MALE, MEN = frozenset({"male vocal"}), frozenset({"men"})


def _parse(path: str) -> IngestQuery | SubscribeQuery | None:
    target = RequestTarget.parse(path)
    return IngestQuery.parse(target, HELLO) if target.is_ingest else SubscribeQuery.parse(target, HELLO)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/elsewhere", None),
        ("/?token=x", SubscribeQuery(None, MessageFilter())),
        ("/?history=300", SubscribeQuery(None, MessageFilter(), 300)),
        ("/streams/a?concepts=MEN&min=0.25", SubscribeQuery("a", MessageFilter(MALE, None, 0.25, MEN))),
        ("/?concepts=men&tags=all&top=2", SubscribeQuery(None, MessageFilter(None, 2, concepts=MEN))),
        ("/?tags=Male+vocal", SubscribeQuery(None, MessageFilter(MALE, concepts=MEN))),
        ("/ingest/mic", IngestQuery("mic", PcmFormat(16000, "s16le", 1), None, MessageFilter())),
        (
            "/ingest/Halle%202%20%E2%80%93%20M%C3%BCller?rate=48000&format=f32le&channels=2&position=96000&top=1&token=x",
            IngestQuery("Halle 2 – Müller", PcmFormat(48000, "f32le", 2), 96000, MessageFilter(top=1)),
        ),
    ],
)
def test_a_path_and_its_parameters_say_what_is_asked_for(path: str, query: IngestQuery | SubscribeQuery | None) -> None:
    assert _parse(path) == query


@given(st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable()))
def test_any_stream_can_be_subscribed_to_by_its_name(name: str) -> None:
    assert _parse(f"/streams/{quote(name, safe='')}?top=1") == SubscribeQuery(name, MessageFilter(top=1))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/ingest/", "1 to 64 characters, not 0"),
        ("/ingest/" + "x" * 65, "1 to 64 characters, not 65"),
        ("/ingest/%20a", "without outer spaces"),
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
        ("/?concepts=mem", "mem: not a concept"),
        ("/ingest/mic?rates=8000", "'rates' is unknown here"),
        (
            "/ingest/mic?history=10",
            "'history' is unknown here: there are rate, format, channels, position, top, tags, concepts, min and token",
        ),
        ("/ingest/mic?rate=8000&rate=8000", "rate is given twice"),
        *((f"/?history={value}", "history ") for value in ("301", "-1", "1.5", "", "many", "1e1", "9" * 23)),
    ],
)
def test_a_bad_parameter_is_refused_in_one_line(path: str, reason: str) -> None:
    with pytest.raises(SpecError) as error:
        _parse(path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(min_size=1, max_size=64))
def test_a_producer_s_stream_has_a_printable_name_or_is_refused(name: str) -> None:
    try:
        path = f"/ingest/{quote(name, safe='')}"
    except UnicodeEncodeError:
        return  # half a surrogate pair cannot be sent
    good = name.isprintable() and "/" not in name and name.strip() == name
    try:
        query = _parse(path)
    except SpecError:
        assert not good
    else:
        assert good
        assert isinstance(query, IngestQuery)
        assert query.stream == name


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_request_is_a_query_or_refused(text: str) -> None:
    ingest = (f"/ingest/{text}", *(f"/ingest/mic?{name}{text}" for name in ("", "rate=", "position=")))
    for path in (text, f"/?{text}", f"/streams/{text}", *ingest):
        try:
            query = _parse(path)
        except SpecError:
            continue
        assert not isinstance(query, IngestQuery) or 1 <= len(query.stream) <= 64


def test_the_state_of_a_stream_has_its_own_address() -> None:
    state = RequestTarget.parse("/streams/Halle%202/state?token=x")
    assert state.is_state
    assert state.state_stream == "Halle 2"
    for path in ("/streams/mic", "/streams/a/b/state", "/streams/state", "/state", "/ingest/mic/state", "/"):
        assert not RequestTarget.parse(path).is_state
    for path in ("/streams//state", "/streams/mic/state?rate=1"):
        with pytest.raises(SpecError):
            _ = RequestTarget.parse(path).state_stream
