"""A part of a source is the same samples as that part of the whole, whatever the container makes of seeking."""

from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.audio.block_decoder import Decoder
from streamtag.audio.container import open_container
from streamtag.audio.decoder import SourceSpec, open_source
from streamtag.audio.files import Address
from streamtag.errors import SourceError
from tests.sounds import Encode

RATE = 44100
SECONDS = 18
NEAR_S, FAR_S = 1.3, 12.3217  # too near the start to seek, and not
FORMATS = [  # with the largest shift, in samples at 16 kHz
    ("song.mp3", "libmp3lame", RATE, 0),
    ("song.flac", "flac", RATE, 0),
    ("song.wav", "pcm_s16le", RATE, 0),
    ("song.opus", "libopus", 48000, 0),
    ("song.m4a", "aac", RATE, 0),
    ("song.ac3", "ac3", RATE, 0),  # its time stamps drift
    ("song.webm", "libopus", 48000, 16),  # its time stamps are in ms
]


def noise(seconds: float, rate: int) -> NDArray[np.float32]:
    """[n] noise without high frequencies, which lossy codecs keep, and which no shift leaves alike."""
    smooth = np.convolve(np.random.default_rng(1).standard_normal(round(seconds * rate)), np.hanning(64), "same")
    return np.asarray(np.clip(0.3 * smooth / smooth.std(), -1, 1), np.float32)


def read(where: str | Path, start_s: float = 0.0, duration_s: float | None = None) -> NDArray[np.float32]:
    with open_source(str(where), SourceSpec(start_s=start_s, duration_s=duration_s)) as source:
        return np.concatenate(list(source))


def shift(part: NDArray[np.float32], whole: NDArray[np.float32], start: int) -> int:
    """Return where in whole, counted from `start`, the middle of a part occurs best."""
    middle = part[1600:4800]
    scores = {n: float(middle @ whole[start + n + 1600 : start + n + 4800]) for n in range(-400, 401)}
    return max(scores, key=lambda n: scores[n])


def place_after_seek(path: Path, start_s: float) -> float:
    """Return where decoding goes on after a seek [s]."""
    with ExitStack() as resources:
        return Decoder(open_container(Address.of(str(path)), 1.0, 1.0, resources)).seek(start_s)


def check_excerpt(path: Path, largest_shift: int) -> None:
    whole = read(path)
    for start_s in (NEAR_S, FAR_S):
        part = read(path, start_s, 2.5)
        assert len(part) == 40000
        assert abs(shift(part, whole, round(16000 * start_s))) <= largest_shift


@pytest.mark.parametrize(("name", "codec", "rate", "largest_shift"), FORMATS)
def test_a_part_is_that_part_of_the_whole(
    tmp_path: Path, encode: Encode, name: str, codec: str, rate: int, largest_shift: int
) -> None:
    path = encode(tmp_path / name, noise(SECONDS, rate), rate, codec, "stereo")
    check_excerpt(path, largest_shift)
    assert place_after_seek(path, NEAR_S) == 0
    far = place_after_seek(path, FAR_S)
    assert far == 0 if codec == "ac3" else 9.0 < far < FAR_S


VARIABLE = {"flags": "+qscale", "global_quality": "472"}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("song.ogg", "vorbis", {"strict": "-2"}),
        ("vbr.mp3", "libmp3lame", VARIABLE),
        ("no_header.mp3", "libmp3lame", {**VARIABLE, "write_xing": "0"}),
    ],
)
def test_a_part_of_a_file_with_a_variable_bit_rate(
    tmp_path: Path, encode: Encode, name: str, codec: str, options: dict[str, str]
) -> None:
    samples = noise(SECONDS, RATE) * np.repeat([0.001, 1.0, 0.001], SECONDS * RATE // 3).astype(np.float32)
    path = encode(tmp_path / name, samples, RATE, codec, "stereo", **options)
    check_excerpt(path, 0)
    assert place_after_seek(path, FAR_S) > 9


class Pipe(io.BytesIO):
    """Cannot seek, and fails where somebody tries."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise AssertionError("nobody may seek here")


def test_a_part_of_standard_input_is_decoded_up_to(
    tmp_path: Path, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "a.wav", noise(12, RATE), RATE, "pcm_s16le")  # its length is known
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(path.read_bytes())))
    part = read("-", 8.25, 2)
    assert len(part) == 32000
    assert shift(part, read(path), 132000) == 0


def test_a_part_reaches_to_the_end_at_most(tmp_path: Path, encode: Encode) -> None:
    path = encode(tmp_path / "a.wav", noise(7, 16000), 16000, "pcm_f32le")
    whole = read(path)
    np.testing.assert_array_equal(read(path, 6), whole[96000:])
    np.testing.assert_array_equal(read(path, 6.5, 10), whole[104000:])
    np.testing.assert_array_equal(read(path, 0, 0.5), whole[:8000])
    with open_source(str(path), SourceSpec(start_s=6.5, duration_s=10)) as source:
        assert source.info.duration_s == pytest.approx(0.5)


@pytest.mark.parametrize("start_s", [7.0, 83.0])
def test_a_start_behind_the_end_is_one_line(tmp_path: Path, encode: Encode, start_s: float) -> None:
    path = encode(tmp_path / "a.wav", noise(7, 16000), 16000, "pcm_f32le")
    clock = {7.0: "0:07", 83.0: "1:23"}[start_s]
    with pytest.raises(SourceError, match=rf"^{path}: is 0:07 long: it has nothing from {clock} on$"):
        read(path, start_s)
