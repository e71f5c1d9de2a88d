"""Small helpers for messages."""

from __future__ import annotations

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.text import (
    describe_os_error,
    format_length,
    format_time,
    one_line,
    parse_time,
    plural,
    printable,
    unique,
)


def test_a_noun_follows_its_number() -> None:
    assert [plural(count, "frame") for count in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.99, "0:59"),
        (187, "3:07"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (3723.5, "1:02:03"),
        (-1, "0:00"),
    ],
)
def test_times_read_as_on_a_player(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("90.5", 90.5),
        ("1:30", 90),
        ("75:00", 4500),
        ("0:07.25", 7.25),
        ("1:02:03", 3723),
        ("100:00:00.5", 360000.5),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1:60", "1:60:00", "1:2:3:4", ":30", "1e3", "nan", "inf", "1,5"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text)


def test_a_length_is_rounded_to_the_nearest_second() -> None:
    lengths = [(72.6, "1:13"), (73.4, "1:13"), (73.5, "1:14"), (0.4, "0:00"), (-1, "0:00"), (3599.7, "1:00:00")]
    assert [format_length(seconds) for seconds, _ in lengths] == [text for _, text in lengths]


def test_any_file_name_can_be_printed() -> None:
    name = printable(b"caf\xe9\x1b[31m\r\n.mp3".decode("utf-8", "surrogateescape"))
    assert name == "caf??[31m??.mp3"
    json.dumps(name).encode()
    assert printable("日本の歌 é.mp3") == "日本の歌 é.mp3"


def test_a_text_of_several_lines_becomes_one() -> None:
    assert one_line(ValueError("a\n\tb  c ")) == "a b c"


@given(st.lists(st.sampled_from(["a", "a (2)", "a (3)", "b"])))
def test_names_are_unique_even_where_they_look_numbered(names: list[str]) -> None:
    result = unique(names)
    assert len(set(result)) == len(names)
    assert all(changed.startswith(name) for changed, name in zip(result, names, strict=True))


def test_the_systems_reason_stands_alone() -> None:
    assert describe_os_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "file")) == "no space left on device"
    assert describe_os_error(OSError("Broken by hand")) == "broken by hand"
