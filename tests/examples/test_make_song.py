"""How the example song is made: the MIDI file, the audio, the MP3, and the command."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

from streamtag.errors import OutputError
from tests.conftest import Need
from tests.examples.conftest import EXAMPLES


def test_rendering_with_the_real_player(maker: ModuleType, score: ModuleType, need: Need) -> None:
    is_installed = maker.shutil.which("fluidsynth") is not None and maker.SOUNDFONT.is_file()
    need("fluidsynth", is_installed, f"needs {maker.INSTALL}")
    late = [score.Note("flute", 1.0, 1.0, 69, 100)]
    audio = maker.render(maker.midi_file(late), maker.SOUNDFONT)
    assert audio.dtype == np.float32
    assert audio.shape[0] == 2
    before, during = audio[:, : maker.RATE * 9 // 10], audio[:, maker.RATE * 5 // 4 : maker.RATE * 7 // 4]
    assert np.abs(before).max() < 1e-3 < np.abs(during).max()
    spectrum = np.abs(np.fft.rfft(during.mean(axis=0) * np.hanning(during.shape[1])))
    assert spectrum[215:225].max() == pytest.approx(spectrum[20:300].max()), "A4 is 440 Hz, two hertz a bin"


@pytest.mark.parametrize(
    ("fluidsynth", "font", "message"),
    [
        (None, "", "fluidsynth: not installed: INSTALL"),
        ("exit 3", "", "FONT: no such soundfont: INSTALL"),
        ("echo 'cannot load it' >&2; exit 3", "broken", "FONT: fluidsynth cannot play with it: cannot load it"),
        ("exit 0", "broken", "FONT: fluidsynth cannot play with it: no sound came out"),
    ],
)
def test_a_failure_to_render_is_reported_in_one_line(
    maker: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fluidsynth: str | None,
    font: str,
    message: str,
) -> None:
    path, output = tmp_path / "font.sf2", tmp_path / "song.mp3"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if fluidsynth else str(tmp_path))
    if fluidsynth is not None:
        (tmp_path / "fluidsynth").write_text(f"#!/bin/sh\n{fluidsynth}\n")
        (tmp_path / "fluidsynth").chmod(0o755)
    if font:
        path.write_text(font)
    assert maker.main([str(output), "--soundfont", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"make_song: {message}\n".replace("FONT", str(path)).replace("INSTALL", maker.INSTALL)
    )
    assert not output.exists()


def test_a_midi_file_is_written_or_the_reason_is_one_line(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, nowhere = tmp_path / "song.mid", tmp_path / "no folder" / "song.mid"
    assert maker.main([str(path), "--seed", "5"]) == 0
    assert path.read_bytes() == maker.midi_file(maker.compose(5)) != maker.midi_file(maker.compose(6))
    capsys.readouterr()
    assert maker.main([str(nowhere)]) == 1
    assert capsys.readouterr().err == f"make_song: {nowhere}: cannot be written: No such file or directory\n"
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        maker.encode(np.ones((2, maker.RATE), np.float32), nowhere.with_suffix(".mp3"))


def test_the_song_in_the_repository_is_the_score(score: ModuleType) -> None:
    path = EXAMPLES / "evening_ride.mp3"
    assert path.stat().st_size < 1_000_000
    with av.open(str(path)) as container:
        audio = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
        assert (container.metadata["title"], container.metadata["artist"]) == ("Evening Ride", "streamtag")
        assert container.streams.audio[0].rate == 44100
    assert audio.shape[0] == 2
    assert audio.shape[1] / 44100 == pytest.approx(score.SECTIONS[-1].end, abs=1.0)
    assert -2.5 < 20 * math.log10(np.abs(audio).max()) < 0, "loud, and not clipped"
