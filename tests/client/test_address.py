"""Addresses of servers, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.uri import parse_uri

from streamtag.client.address import ServerAddress
from streamtag.errors import SpecError


@pytest.mark.parametrize(
    ("where", "url", "label"),
    [
        ("ws://127.0.0.1:8765/", "ws://127.0.0.1:8765/", "ws://127.0.0.1:8765/"),
        ("127.0.0.1:8765", "ws://127.0.0.1:8765/", "ws://127.0.0.1:8765/"),
        ("8765", "ws://127.0.0.1:8765/", "ws://127.0.0.1:8765/"),
        (" localhost:8765\n", "ws://localhost:8765/", "ws://localhost:8765/"),
        ("8765/streams/my mic", "ws://127.0.0.1:8765/streams/my%20mic", "ws://127.0.0.1:8765/streams/my mic"),
        ("localhost:8765/streams/x", "ws://localhost:8765/streams/x", "ws://localhost:8765/streams/x"),
        ("http://stage.local:8765", "ws://stage.local:8765/", "ws://stage.local:8765/"),
        ("https://example.org/tags/", "wss://example.org/tags/", "wss://example.org/tags/"),
        ("ws://[::1]:8765/streams/mic", "ws://[::1]:8765/streams/mic", "ws://[::1]:8765/streams/mic"),
        ("WS://h/streams/my song.mp3", "ws://h/streams/my%20song.mp3", "ws://h/streams/my song.mp3"),
        ("ws://h/streams/my%20song.mp3", "ws://h/streams/my%20song.mp3", "ws://h/streams/my%20song.mp3"),
        ("ws://h/?top=3&token=secret", "ws://h/?top=3&token=secret", "ws://h/"),
        ("ws://user:secret@h/#part", "ws://user:secret@h/", "ws://h/"),
    ],
)
def test_what_is_an_address(where: str, url: str, label: str) -> None:
    address = ServerAddress.parse(where)
    assert (address.url, address.label) == (url, label)
    parse_uri(address.url)  # the library takes it


@pytest.mark.parametrize("where", ["", "ws://", "ws:///path", "ftp://h/", "ws://h:99999/", "0", "h:port", "ws://[::1"])
def test_what_is_none(where: str) -> None:
    with pytest.raises(SpecError):
        ServerAddress.parse(where)


@pytest.mark.parametrize("where", ["ftp://user:secret@h/?token=secret", "ws://user:secret@h:x/?token=secret"])
def test_an_error_tells_no_secret(where: str) -> None:
    with pytest.raises(SpecError) as caught:
        ServerAddress.parse(where)
    assert "secret" not in str(caught.value)


def test_what_it_is_like() -> None:
    assert [ServerAddress.parse(where).is_secure for where in ("wss://h/", "h")] == [True, False]
    assert [ServerAddress.parse(where).stream for where in ("h/streams/my%20mic", "h/")] == ["my mic", None]
    hosts = ("localhost:1", "127.1.2.3:1", "[::1]:1", "example.org", "192.168.0.2:1", "localhost.example")
    assert [ServerAddress.parse(where).is_loopback for where in hosts] == [True] * 3 + [False] * 3


@given(st.text(max_size=40) | st.text("ws:/[]@?#%.a1\n", max_size=40))
def test_any_text_is_an_address_or_an_error(where: str) -> None:
    try:
        label = ServerAddress.parse(where).label
    except SpecError as error:
        label = str(error)
    assert label.isprintable()
