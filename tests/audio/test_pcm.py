"""Raw PCM: formats that are refused, and bytes that are cut anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtag.audio.pcm import ENCODINGS, Encoding, PcmDecoder, PcmFormat, parse_whole_number
from streamtag.errors import SpecError


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((0, "s16le", 1), "rate must lie between 1000 and 384000, not 0"),
        ((99_000_000, "s16le", 1), "rate must lie between"),
        ((16000.0, "s16le", 1), "rate must lie between"),
        ((16000, "mp3", 1), "format must be s16le or f32le, not 'mp3'"),
        ((16000, "s16le", 0), "channels must lie between"),
        ((16000, "s16le", 65), "channels must lie between"),
        ((16000, "s16le", True), "channels must lie between"),
    ],
)
def test_a_format_that_makes_no_sense_is_refused(values: Any, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        PcmFormat(*values)


def test_a_format_is_read_from_text() -> None:
    assert PcmFormat.parse("48000", "f32le", "2") == PcmFormat(48000, "f32le", 2)
    for values, reason in (
        (("1e3", "s16le", "1"), "rate must be a whole"),
        (("16000", "s16le", "9"), "between 1 and 8"),
    ):
        with pytest.raises(SpecError, match=reason):
            PcmFormat.parse(*values, max_channels=8)


@pytest.mark.parametrize("text", ["", "-1", "1.5", " 1", "\u0663", "9" * 16])
def test_text_that_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="position must be a whole number, not"):
        parse_whole_number("position", text)


def test_full_scale_is_one() -> None:
    data = np.array([-32768, 0, 16384], "<i2").tobytes()
    np.testing.assert_array_equal(PcmFormat(16000, "s16le").decode(data), [[-1], [0], [0.5]])
    data = np.array([0.25, -2.0], "<f4").tobytes()
    np.testing.assert_array_equal(PcmFormat(16000, "f32le", 2).decode(data), [[0.25, -2.0]])


@given(st.sampled_from(ENCODINGS), st.integers(1, 3), st.lists(st.integers(0, 40), max_size=10))
def test_the_samples_do_not_depend_on_where_the_bytes_are_cut(
    encoding: Encoding, channels: int, sizes: list[int]
) -> None:
    format = PcmFormat(16000, encoding, channels)
    integers = np.random.default_rng(0).integers(-32768, 32768, sum(sizes))
    data = (integers.astype("<i2") if encoding == "s16le" else integers.astype("<f4")).tobytes()[: sum(sizes)]
    decoder, ends = PcmDecoder(format), np.cumsum(sizes, dtype=int)
    parts = [decoder.decode(data[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    whole = len(data) - len(data) % format.sample_bytes
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, channels)), *parts]), format.decode(data[:whole]))
    assert decoder.pending == data[whole:]
