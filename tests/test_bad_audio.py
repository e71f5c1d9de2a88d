"""Bad and unusual audio through the whole library: a clear message or the right result for each."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.api import Result, Tagger
from streamtag.errors import SourceError
from streamtag.spec import ScatteringSpec
from tests.sounds import Encode
from tests.wav import write_wav

HOP = ScatteringSpec().hop
# Samples that differ by rounding alone differ in the empty bands above the music, and this network listens to those.
ROUNDED = 0.05


def music(seconds: float, rate: int = 16000) -> NDArray[np.float32]:
    """Return a few swelling tones, all far below 4 kHz."""
    time = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * f * time) * np.sin(np.pi * f / 300 * time) ** 2 for f in (110, 330, 550, 880))
    return (0.2 * np.asarray(sound)).astype(np.float32)


def checked(result: Result, seconds: float, within: float = 0.1) -> Result:
    """Check that the result has finite probabilities of the right number of frames."""
    assert result.seconds == pytest.approx(seconds, abs=within)
    assert len(result.times) == len(result.probs) == -(-round(result.seconds * 16000) // HOP)
    assert np.isfinite(result.probs).all()
    assert ((result.probs >= 0) & (result.probs <= 1)).all()
    return result


@pytest.fixture(scope="module")
def plain(tagger: Tagger, tmp_path_factory: pytest.TempPathFactory, encode: Encode) -> NDArray[np.float32]:
    """The probabilities of the music as the simplest of files."""
    return tagger.tag(encode(tmp_path_factory.mktemp("plain") / "plain.wav", music(3), 16000, "pcm_f32le")).probs


class TestUnusualButRight:
    """The same music in other formats gives the same result."""

    @pytest.mark.parametrize("rate", [8000, 44100])
    def test_sample_rates(
        self, tagger: Tagger, tmp_path: Path, encode: Encode, plain: NDArray[np.float32], rate: int
    ) -> None:
        """Without the last frame, which depends on how the resampler filters the abrupt end."""
        result = checked(tagger.tag(encode(tmp_path / "a.wav", music(3, rate), rate, "pcm_f32le")), 3)
        np.testing.assert_allclose(result.probs[:-1], plain[:-1], atol=ROUNDED)

    @pytest.mark.parametrize("samples", [1, 1600])
    def test_less_than_a_hop_is_one_frame(self, tagger: Tagger, tmp_path: Path, samples: int) -> None:
        result = checked(tagger.tag(write_wav(tmp_path / "a.wav", music(1)[:samples], 16000)), samples / 16000)
        assert len(result.times) == 1

    def test_a_tenth_of_a_second_of_mp3(self, tagger: Tagger, tmp_path: Path, encode: Encode) -> None:
        checked(tagger.tag(encode(tmp_path / "a.mp3", music(0.1, 44100), 44100, "libmp3lame")), 0.1)

    def test_silence(self, tagger: Tagger, tmp_path: Path) -> None:
        checked(tagger.tag(write_wav(tmp_path / "a.wav", np.zeros(48000, np.float32), 16000)), 3)

    def test_full_scale_square_waves(self, tagger: Tagger, tmp_path: Path) -> None:
        square = np.where(np.arange(3 * 44100) % 100 < 50, 1.0, -1.0)
        checked(tagger.tag(write_wav(tmp_path / "a.wav", square)), 3)

    def test_another_suffix(self, tagger: Tagger, tmp_path: Path, encode: Encode, plain: NDArray[np.float32]) -> None:
        path = encode(tmp_path / "a.wav", music(3), 16000, "pcm_f32le").rename(tmp_path / "a.mp3")
        np.testing.assert_allclose(tagger.tag(path).probs, plain, atol=1e-5)

    def test_different_music_gives_another_result(
        self, tagger: Tagger, tmp_path: Path, plain: NDArray[np.float32]
    ) -> None:
        """The negative control of the comparisons above."""
        other = tagger.tag(write_wav(tmp_path / "a.wav", music(3)[::-1] ** 3, 16000))
        assert np.abs(other.probs - plain).max() > 2 * ROUNDED


class TestDamaged:
    def test_nan_and_infinities(self, tagger: Tagger, tmp_path: Path, encode: Encode) -> None:
        samples = music(3)
        samples[[0, 20000, 20001, 47999]] = [np.nan, np.inf, -np.inf, np.nan]
        result = checked(tagger.tag(encode(tmp_path / "a.wav", samples, 16000, "pcm_f32le")), 3)
        finite = np.where(np.isfinite(samples), samples, 0)
        repaired = tagger.tag(encode(tmp_path / "b.wav", finite, 16000, "pcm_f32le"))
        np.testing.assert_allclose(result.probs, repaired.probs, atol=1e-5)
        assert result.warnings == ("4 samples not a finite number, set to 0",)
        assert repaired.warnings == ()

    @pytest.mark.parametrize("values", [[np.nan], [1e38, -1e38, 1e-38, 3e38]])
    def test_nothing_but_nan_or_absurdly_loud(
        self, tagger: Tagger, tmp_path: Path, encode: Encode, values: list[float]
    ) -> None:
        samples = np.resize(np.array(values, np.float32), 32000)
        checked(tagger.tag(encode(tmp_path / "a.wav", samples, 44100, "pcm_f32le")), 32000 / 44100)

    @pytest.mark.parametrize("kept", [0.1, 0.97])
    def test_truncated_mp3(self, tagger: Tagger, tmp_path: Path, encode: Encode, kept: float) -> None:
        path = encode(tmp_path / "a.mp3", music(8), 16000, "libmp3lame")
        data = path.read_bytes()
        path.write_bytes(data[: round(kept * len(data))])
        checked(tagger.tag(path), 8 * kept, within=0.4)

    @pytest.mark.parametrize("seed", range(2))
    def test_bit_flipped_mp3(self, tagger: Tagger, tmp_path: Path, encode: Encode, seed: int) -> None:
        path = encode(tmp_path / "a.mp3", music(8), 16000, "libmp3lame")
        data = bytearray(path.read_bytes())
        random = np.random.default_rng(seed)
        for place in random.integers(len(data) // 10, len(data), 60):
            data[place] ^= 1 << int(random.integers(8))
        path.write_bytes(data)
        result = tagger.tag(path)
        assert checked(result, result.seconds).seconds > 4  # most of it survives
        assert all("damaged packet" in warning for warning in result.warnings)

    def test_truncated_wav(self, tagger: Tagger, tmp_path: Path) -> None:
        path = write_wav(tmp_path / "a.wav", music(3), 16000)
        path.write_bytes(path.read_bytes()[: 44 + 2 * 16000 + 1])
        checked(tagger.tag(path), 1)


def refused(tagger: Tagger, where: Path | str) -> str:
    """Return the message without the name: it must be one printable line that begins with the name."""
    with pytest.raises(SourceError) as caught:
        tagger.tag(where)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{where}: ")
    assert caught.value.__cause__ is None
    return message.removeprefix(f"{where}: ")


class TestRefused:
    def test_a_folder(self, tagger: Tagger, tmp_path: Path) -> None:
        assert refused(tagger, tmp_path) == "is a folder, not an audio file"

    @pytest.mark.parametrize("name", ["a.mp3", "a"])
    def test_empty(self, tagger: Tagger, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        assert refused(tagger, tmp_path / name) == "is empty"

    @pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.srt", "a"])
    @pytest.mark.parametrize(
        "text", ["x", "no music at all\n" * 500, "1\n00:00:01,000 --> 00:00:02,000\nla la\n\n" * 9]
    )
    def test_text(self, tagger: Tagger, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        assert refused(tagger, tmp_path / name).startswith("not an audio file")

    @pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.m4a", "a"])
    def test_noise_of_bytes(self, tagger: Tagger, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(100_000))
        assert refused(tagger, tmp_path / name).startswith(("not an audio file", "not one sample"))

    def test_a_header_without_samples(self, tagger: Tagger, tmp_path: Path) -> None:
        path = write_wav(tmp_path / "a.wav", music(0), 16000)
        assert refused(tagger, path).startswith(("not one sample", "not an audio file"))

    @pytest.mark.parametrize("rate", [1, 4_100_000_000])
    def test_an_absurd_rate(self, tagger: Tagger, tmp_path: Path, rate: int) -> None:
        data = bytearray(write_wav(tmp_path / "a.wav", music(1), 16000).read_bytes())
        data[24:28] = struct.pack("<I", rate)
        (tmp_path / "a.wav").write_bytes(data)
        refused(tagger, tmp_path / "a.wav")

    def test_a_video_without_sound(self, tagger: Tagger, tmp_path: Path) -> None:
        path = tmp_path / "film.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for _ in range(10):
                picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        assert refused(tagger, path) == "not an audio file: no sound in it"

    def test_permission_denied(self, tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        assert refused(tagger, "a.wav") == "permission denied"

    @pytest.mark.parametrize("name", ["null\0byte.mp3", "a" * 5000])
    def test_impossible_names(self, tagger: Tagger, name: str) -> None:
        with pytest.raises(SourceError) as caught:
            tagger.tag(name)
        assert str(caught.value).isprintable()
