"""Addresses, settings and origins: which are accepted and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.errors import SpecError
from streamtag.server.config import IngestConfig, Origin, ServerConfig

BAD_ADDRESSES = (
    *("", ":", ":8765", "host", "host:", "host:port", "::1", "::1:8765", "1:2:3", "65536", "-1", "8765 9", "٣"),
    *("a b:80", "http://host:80", "[]:80", "user@host:80", "host/:80"),
)


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
    config = ServerConfig.parse(text, token="x")
    assert (config.host, config.port, config.token) == (host, port, "x")


@pytest.mark.parametrize("text", BAD_ADDRESSES)
def test_a_bad_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SpecError) as error:
        ServerConfig.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ServerConfig, {"token": ""}),
        (ServerConfig, {"token": "schlüssel"}),
        (ServerConfig, {"max_clients": 0}),
        (ServerConfig, {"queue_length": 0}),
        (ServerConfig, {"max_message_bytes": 0}),
        (ServerConfig, {"stall_timeout_s": float("nan")}),
        (ServerConfig, {"open_timeout_s": float("inf")}),
        (ServerConfig, {"tls_key": Path("key.pem")}),
        (ServerConfig, {"origins": ("https://example.org/page",)}),
        (ServerConfig, {"origins": ("ftp://example.org",)}),
        (ServerConfig, {"port": 65536}),
        (ServerConfig, {"host": ""}),
        (IngestConfig, {"token": "two words"}),
        (IngestConfig, {"max_per_client": 0}),
        (IngestConfig, {"max_streams": 0}),
        (IngestConfig, {"idle_timeout_s": 0.0}),
        (IngestConfig, {"stale_after_s": float("nan")}),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: type, settings: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        kind(**settings)


@given(st.text(max_size=40))
def test_the_host_of_any_origin_is_safe_in_a_header(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://[{text}]:80"):
        try:
            origin = Origin.parse(candidate)
        except ValueError:
            continue
        assert origin.host
        assert not set(origin.host) & set(" ;,'\"\r\n\t/?#@\\<>")
