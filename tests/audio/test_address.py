"""Paths, addresses, standard input: how they are told apart, and what messages call them."""

from __future__ import annotations

import pytest

from streamtag.audio.files import Address


@pytest.mark.parametrize(
    ("where", "kind", "label", "name"),
    [
        ("music/song.mp3", "file", "music/song.mp3", "song.mp3"),
        ("C:\\song.mp3", "file", "C:\\song.mp3", "C:\\song.mp3"),
        ("concat:a.mp3|b.mp3", "file", "concat:a.mp3|b.mp3", "concat:a.mp3|b.mp3"),
        ("..", "file", "..", ".."),
        ("-", "pipe", "standard input", "stdin"),
        ("HTTPS://h.org/a%20b.mp3?x=1#t", "url", "https://h.org/a%20b.mp3?x=1", "a b.mp3"),
        ("http://h.org:8000/", "url", "http://h.org:8000/", "h.org:8000"),
        ("http://user:secret@h.org/live", "url", "http://h.org/live", "live"),
        ("two\nlines.mp3", "file", "two?lines.mp3", "two?lines.mp3"),
    ],
)
def test_kinds_and_names(where: str, kind: str, label: str, name: str) -> None:
    address = Address.of(where)
    assert (address.kind, address.label, address.name) == (kind, label, name)
    assert address.where == where


@pytest.mark.parametrize(
    ("where", "suffix"), [("a.mp3", ".mp3"), ("a", ""), ("a.%03d", ""), ("http://h/a.mp3", ""), ("a.é", "")]
)
def test_suffixes_that_are_told_to_ffmpeg(where: str, suffix: str) -> None:
    assert Address.of(where).suffix == suffix
