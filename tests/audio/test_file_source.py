"""Files of every kind, and standard input, come out as mono 16 kHz chunks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.audio.decoder import SourceSpec, open_source
from streamtag.errors import SourceError, SpecError
from tests.sounds import Encode, Tone

FORMATS = [
    ("song.mp3", "libmp3lame", 44100, "stereo"),
    ("song.flac", "flac", 44100, "stereo"),
    ("song.opus", "libopus", 48000, "stereo"),
    ("song.ogg", "flac", 22050, "mono"),
    ("song.m4a", "aac", 44100, "stereo"),
    ("song.aac", "aac", 32000, "mono"),
    ("song.wav", "pcm_s16le", 44100, "stereo"),
    ("song.aiff", "pcm_s16be", 48000, "mono"),
    ("song.mka", "pcm_s24le", 96000, "stereo"),
    ("song.ts", "aac", 44100, "stereo"),
    ("sixteen.wav", "pcm_s16le", 22050, "16 channels"),
]


def read(where: str | Path, spec: SourceSpec | None = None) -> NDArray[np.float32]:
    with open_source(str(where), spec) as source:
        return np.concatenate(list(source))


def strongest_frequency(samples: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * 16000 / len(samples))


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), FORMATS)
def test_every_format_gives_the_same_tone(
    tmp_path: Path, encode: Encode, tone: Tone, name: str, codec: str, rate: int, layout: str
) -> None:
    path = encode(tmp_path / name, tone(3, rate), rate, codec, layout)
    with open_source(str(path)) as source:
        chunks = list(source)
        assert source.info.name == name
        assert source.info.sample_rate == rate
        assert source.info.channels == av.AudioLayout(layout).nb_channels
        assert source.info.codec == codec.removeprefix("lib").replace("mp3lame", "mp3")
        assert source.warnings == []
        assert source.info.duration_s is None or source.info.duration_s == pytest.approx(3, abs=0.2)
    assert all(chunk.dtype == np.float32 and chunk.ndim == 1 and 0 < len(chunk) <= 16000 for chunk in chunks)
    samples = np.concatenate(chunks)
    assert len(samples) / 16000 == pytest.approx(3, abs=0.06)
    middle = samples[16000:32000]
    assert strongest_frequency(middle) == pytest.approx(440, abs=1)
    assert np.std(middle) == pytest.approx(0.5 / np.sqrt(2), rel=0.06)  # lossy codecs take a little


def test_the_size_of_chunks_does_not_change_the_samples(tmp_path: Path, encode: Encode, tone: Tone) -> None:
    path = encode(tmp_path / "a.mp3", tone(2, 44100), 44100, "libmp3lame")
    np.testing.assert_array_equal(read(path, SourceSpec(chunk_s=0.01)), read(path))


def test_channels_are_averaged(tmp_path: Path, encode: Encode, tone: Tone) -> None:
    left = tone(1, 16000)
    opposite = encode(tmp_path / "a.wav", np.stack([left, -left], 1), 16000, "pcm_f32le", "stereo")
    one_sided = encode(tmp_path / "b.wav", np.stack([left, 0 * left], 1), 16000, "pcm_f32le", "stereo")
    assert np.abs(read(opposite)).max() == 0
    np.testing.assert_array_equal(read(one_sided), left / 2)


def test_no_sample_is_lost_where_rate_and_channels_change(tmp_path: Path, encode: Encode, tone: Tone) -> None:
    first = encode(tmp_path / "1.aac", tone(1.024, 48000), 48000, "aac", "stereo")
    second = encode(tmp_path / "2.aac", tone(1.024, 16000), 16000, "aac")
    (tmp_path / "both.aac").write_bytes(first.read_bytes() + second.read_bytes())
    both = read(tmp_path / "both.aac")
    assert abs(len(both) - len(read(first)) - len(read(second))) <= 16
    for part in (both[4000:12000], both[-12000:-4000]):
        assert strongest_frequency(part) == pytest.approx(440, abs=3)


def test_the_audio_of_a_video_is_read(tmp_path: Path, tone: Tone) -> None:
    path = tmp_path / "film.mp4"
    samples = tone(2, 44100)
    with av.open(str(path), "w") as container:
        pictures, sound = (
            container.add_stream("mpeg4", rate=10),
            container.add_stream("aac", rate=44100, layout="mono"),
        )
        pictures.width = pictures.height = 32
        pictures.pix_fmt = "yuv420p"
        for i in range(20):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 10 * i, np.uint8), format="rgb24")
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with open_source(str(path)) as source:
        assert source.info.codec == "aac"
        out = np.concatenate(list(source))
    assert len(out) / 16000 == pytest.approx(2, abs=0.06)
    assert strongest_frequency(out[8000:24000]) == pytest.approx(440, abs=1)


class TestStandardInput:
    def test_chunks_come_while_the_pipe_is_still_open(
        self, tmp_path: Path, encode: Encode, tone: Tone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encode(tmp_path / "a.wav", tone(4, 44100), 44100, "pcm_s16le", "stereo").read_bytes()
        reading, writing = os.pipe()
        came, lengths = threading.Event(), []

        def read_all() -> None:
            with open_source("-") as source:
                for chunk in source:
                    lengths.append(len(chunk))
                    came.set()

        with os.fdopen(reading, "rb") as pipe:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
            reader = threading.Thread(target=read_all, daemon=True)
            reader.start()
            with os.fdopen(writing, "wb", buffering=0) as feeder:
                feeder.write(data[: len(data) // 4])
                assert came.wait(20), "nothing came out before the end of the input"
                assert sum(lengths) <= 16000
                feeder.write(data[len(data) // 4 :])
            reader.join(20)
        assert sum(lengths) == pytest.approx(4 * 16000, abs=1)

    @pytest.mark.parametrize(
        ("data", "message"), [(None, "there is none"), (b"", "is empty"), (b"no music " * 999, "not an audio file")]
    )
    def test_input_without_audio_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch, data: bytes | None, message: str
    ) -> None:
        monkeypatch.setattr(sys, "stdin", None if data is None else io.TextIOWrapper(io.BytesIO(data)))
        with pytest.raises(SourceError, match=f"^standard input: {message}"):
            open_source("-")

    def test_a_format_that_needs_seeking_is_read_only_from_a_file(
        self, tmp_path: Path, encode: Encode, tone: Tone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = encode(tmp_path / "a.m4a", tone(30, 44100), 44100, "aac").read_bytes()

        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(data)))
        with pytest.raises(SourceError, match="give the file itself"):
            read("-")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))  # redirected from a file: can seek
        assert len(read("-")) / 16000 == pytest.approx(30, abs=0.06)


class TestPlaylists:
    """A file cannot make FFmpeg open other files: a hostile playlist reads nothing."""

    @pytest.fixture(params=["m3u8", "ffconcat"])
    def playlist(self, request: pytest.FixtureRequest, tmp_path: Path, encode: Encode, tone: Tone) -> Path:
        encode(tmp_path / "private.ts", tone(2, 44100), 44100, "aac")
        path = tmp_path / f"list.{request.param}"
        if request.param == "m3u8":
            path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nprivate.ts\n#EXT-X-ENDLIST\n")
        else:
            path.write_text("ffconcat version 1.0\nfile private.ts\n")
        return path

    def test_it_is_refused(self, playlist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(playlist.parent)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(playlist.read_bytes())))
        for where in (str(playlist), "-"):
            with pytest.raises(SourceError, match="not an audio file"):
                open_source(where)

    def test_the_name_of_a_protocol_is_only_a_file_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.wav").write_bytes(b"RIFF")
        for where in ("concat:a.wav|a.wav", "file:a.wav", "data:audio/wav;base64,UklGRg=="):
            with pytest.raises(SourceError, match="no such file"):
                open_source(where)


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), FORMATS[:-1])
def test_damage_anywhere_gives_samples_or_one_clear_line(
    tmp_path: Path, encode: Encode, tone: Tone, name: str, codec: str, rate: int, layout: str
) -> None:
    path = encode(tmp_path / name, tone(2, rate), rate, codec, layout)
    whole, messages = path.read_bytes(), []
    for seed in range(8):
        random = np.random.default_rng(seed)
        data = bytearray(whole)
        for place in random.integers(0, (100, 1000, len(data))[seed % 3], (2, 40)[seed % 2]):
            data[place] = random.integers(256)
        path.write_bytes(data[: random.integers(1, len(data))] if seed % 4 == 0 else data)
        try:
            with open_source(str(path)) as source:
                for chunk in source:
                    assert np.isfinite(chunk).all()
                    assert 0 < len(chunk) <= 16000
        except SourceError as error:
            messages.append(str(error))
    assert all(message.isprintable() and message.startswith(f"{path}: ") for message in messages)


def test_ffmpeg_writes_nothing_to_standard_error(tmp_path: Path, encode: Encode, tone: Tone) -> None:
    path = encode(tmp_path / "a.mp3", tone(3, 44100), 44100, "libmp3lame")
    data = bytearray(path.read_bytes())
    for place in np.random.default_rng(3).integers(0, len(data), 200):
        data[place] ^= 0x55
    path.write_bytes(data)
    (tmp_path / "text.mp3").write_text("no music\n" * 999)
    code = (
        "import sys\n"
        "from streamtag.errors import SourceError\n"
        "from streamtag.audio.decoder import open_source\n"
        "for where in sys.argv[1:]:\n"
        "    try:\n"
        "        with open_source(where) as source: print(sum(map(len, source)), source.warnings)\n"
        "    except SourceError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "text.mp3")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "skipped" in done.stdout
    assert "not an audio file" in done.stdout


def test_nothing_is_left_open_when_opening_fails(tmp_path: Path) -> None:
    """Unclosed files would be warnings, and warnings are errors here; count them where the system can."""
    (tmp_path / "text.mp3").write_text("no music\n" * 999)
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("no list of open files on this system")
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        with pytest.raises(SourceError):
            open_source(str(tmp_path / "text.mp3"))
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"open_timeout_s": 0}, "timeouts"),
        ({"read_timeout_s": -1}, "timeouts"),
        ({"chunk_s": 2}, "chunk_s"),
        ({"start_s": -1}, "start_s"),
        ({"start_s": float("nan")}, "start_s"),
        ({"duration_s": 0}, "duration_s"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(SpecError, match=f"SourceSpec: {message}"):
        SourceSpec(**setting)
