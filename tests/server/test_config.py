"""Addresses, settings, origins and wishes: what makes sense and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.errors import SpecError
from streamtag.protocol.messages import Error, Event, Frame, Hello
from streamtag.server.config import ServerConfig
from streamtag.server.origin import Origin, own_names
from streamtag.server.query import RequestTarget, SubscribeQuery

HELLO = Hello("streamtag", "small", ("guitar", "male vocal"), 16000, 0.256, 0.512, 0.384, (0.5, 0.5))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8765", "127.0.0.1", 8765),
        (" 0 ", "127.0.0.1", 0),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("localhost:65535", "localhost", 65535),
        ("[::1]:8765", "::1", 8765),
        ("[::]:1", "::", 1),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text: str, host: str, port: int) -> None:
    spec = ServerConfig.parse(text, token="x")
    assert (spec.host, spec.port, spec.token) == (host, port, "x")


NO_ADDRESSES = (
    *("", ":", ":8765", "host", "host:", "host:port", "::1", "::1:8765", "1:2:3", "65536", "-1", "8765 9", "٣"),
    *("a b:80", "http://host:80", "[]:80", "user@host:80", "host:999999", "host/:80"),
)


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SpecError) as error:
        ServerConfig.parse(text)
    assert "\n" not in str(error.value)


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        spec = ServerConfig.parse(text)
    except SpecError:
        return
    assert 0 <= spec.port <= 65535
    assert spec.host


@pytest.mark.parametrize(
    "settings",
    [
        {"token": ""},
        {"token": "two words"},
        {"token": "schlüssel"},
        {"max_clients": 0},
        {"queue_length": 0},
        {"max_message_bytes": 0},
        {"stall_timeout_s": 0.0},
        {"stall_timeout_s": float("nan")},
        {"stall_timeout_s": float("inf")},
        {"tls_key": Path("key.pem")},
        {"origins": ("example.org",)},
        {"origins": ("https://example.org/page",)},
        {"origins": ("ftp://example.org",)},
        {"origins": ("*",)},
        {"port": 65536},
        {"host": ""},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        ServerConfig(**settings)


def test_settings_that_do_are_not() -> None:
    spec = ServerConfig(tls_cert=Path("cert.pem"), origins=("null", "https://Example.org/"), token="!~")
    assert spec.scheme == "https"
    assert spec.allowed == {Origin("https", "example.org", 443)}
    assert ServerConfig().scheme == "http"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://127.0.0.1:8765", Origin("http", "127.0.0.1", 8765)),
        ("HTTPS://Example.ORG", Origin("https", "example.org", 443)),
        ("http://[::1]", Origin("http", "::1", 80)),
    ],
)
def test_an_origin_is_scheme_host_and_port(text: str, origin: Origin) -> None:
    assert Origin.of(text) == origin


@given(st.text(max_size=40))
def test_any_header_is_an_origin_or_none(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://[{text}]:80"):
        try:
            origin = Origin.of(candidate)
        except ValueError:
            continue
        assert origin.host
        assert not set(origin.host) & set(" ;,'\"\r\n\t/?#@\\<>")  # it is repeated in a header


def test_numbers_are_literal_and_names_are_not() -> None:
    assert Origin("http", "127.0.0.1", 80).is_literal
    assert Origin("http", "fe80::1%eth0", 80).is_literal
    assert not Origin("http", "127.0.0.1.evil.example", 80).is_literal
    assert "localhost" in own_names()


@given(st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable()))
def test_any_stream_can_be_asked_for_by_its_name(name: str) -> None:
    wish = SubscribeQuery.of(RequestTarget.of(f"/streams/{quote(name, safe='')}?top=1"), HELLO)
    assert wish is not None
    assert wish.stream == name
    assert wish.message_filter.top == 1
    assert wish.wants(Frame(name, 0, 0.0, 0.5, {}))
    assert wish.wants(Error("for all"))
    assert not wish.wants(Event(f"{name}x", "guitar", "on", 0.1))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_request_is_a_wish_or_refused(text: str) -> None:
    for path in (text, f"/?{text}", f"/streams/{text}"):
        try:
            wish = SubscribeQuery.of(RequestTarget.of(path), HELLO)
        except SpecError:
            continue
        assert wish is None or path.startswith("/")


def test_tags_are_found_in_any_case_and_all_of_them_is_everything() -> None:
    def thinning(parameters: str) -> Any:
        wish = SubscribeQuery.of(RequestTarget.of(f"/?{parameters}"), HELLO)
        assert wish is not None
        return wish.message_filter

    assert thinning("tags=GUITAR&min=0.25").tags == {"guitar"}
    assert thinning("tags=GUITAR&min=0.25").min_probability == 0.25
    assert thinning("tags=male+vocal,guitar") == thinning("token=x") == thinning("")
