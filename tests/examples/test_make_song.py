"""How the example song is made: the MIDI file, the audio, the MP3, and the command."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

from streamtag.errors import OutputError


class Message(NamedTuple):
    tick: int
    status: int
    data: bytes


def parse(midi: bytes) -> tuple[int, list[Message]]:
    """A strict reader of one-track files without running status. Returns ticks a quarter and the messages."""
    head, length, form, tracks, division, track, size = struct.unpack(">4sIHHH4sI", midi[:22])
    assert (head, length, form, tracks, track, size) == (b"MThd", 6, 0, 1, b"MTrk", len(midi) - 22)
    file, tick, messages = io.BytesIO(midi[22:]), 0, []

    def number() -> int:
        value, byte = 0, 0x80
        while byte >= 0x80:
            (byte,) = file.read(1)
            value = value << 7 | byte & 0x7F
        return value

    while file.tell() < size:
        tick += number()
        (status,) = file.read(1)
        if status == 0xFF:
            status, size_of_data = 0xFF00 | file.read(1)[0], number()
        else:
            assert 0x80 <= status < 0xF0
            size_of_data = 1 if status >> 4 in (0xC, 0xD) else 2
        messages.append(Message(tick, status, file.read(size_of_data)))
        assert status >= 0xFF00 or max(messages[-1].data) < 0x80
    assert messages[-1].status == 0xFF2F, "a track ends with its end mark"
    return division, messages


def test_the_bytes_depend_only_on_the_seed(maker: ModuleType) -> None:
    assert maker.midi_file(maker.compose(3)) == maker.midi_file(maker.compose(3)) != maker.midi_file(maker.compose(4))


def test_the_midi_file_holds_the_score(maker: ModuleType, score: ModuleType) -> None:
    events = score.compose()
    division, messages = parse(maker.midi_file(events))
    assert division * 2 == maker.TICKS_PER_S, "at the default tempo of half a second a quarter"
    (tempo,) = [m.data for m in messages if m.status == 0xFF51]
    assert int.from_bytes(tempo) == 500_000
    starts = [m for m in messages if m.status >> 4 == 0x9]
    expected = sorted((e.start, e.pitch, e.velocity) for e in events if isinstance(e, score.Note))
    assert len(starts) == len(expected)
    assert [m.tick / maker.TICKS_PER_S for m in starts] == pytest.approx([note[0] for note in expected], abs=1e-3)
    assert sorted(bytes(m.data) for m in starts) == sorted(bytes(note[1:]) for note in expected)


def test_a_key_struck_while_it_sounds_is_ended_first(maker: ModuleType, score: ModuleType) -> None:
    twice = [score.Note("guitar", 0.0, 2.0, 60, 80), score.Note("guitar", 1.0, 2.0, 60, 90)]
    notes = [m for m in parse(maker.midi_file(twice))[1] if m.status >> 4 in (0x8, 0x9)]
    second = maker.TICKS_PER_S
    assert [(m.tick, m.status) for m in notes] == [
        (0, 0x90),
        (second, 0x80),
        (second, 0x90),
        (3 * second, 0x80),
    ]


def test_finish_sets_peak_length_and_fade(maker: ModuleType) -> None:
    length = round((maker.SECTIONS[-1].end + maker.REVERB_S) * maker.RATE)
    for samples in (length - 1000, length + 1000):
        tone = np.sin(np.arange(samples) * 0.05).astype(np.float32) * np.float32(3)
        done = maker.finish(np.stack([tone, -tone / 2]))
        assert done.shape == (2, length)
        assert 20 * math.log10(np.abs(done).max()) == pytest.approx(-1.0, abs=1e-3)
        assert np.abs(done[:, -100:]).max() < 1e-4
        assert np.abs(done[:, : -round(maker.FADE_S * maker.RATE)]).max() == np.abs(done).max()


@pytest.fixture(scope="module")
def real_player(maker: ModuleType, need: Callable[[str, bool, str], None]) -> None:
    is_installed = maker.shutil.which("fluidsynth") is not None and maker.SOUNDFONT.is_file()
    need("fluidsynth", is_installed, f"needs {maker.INSTALL}")


@pytest.mark.usefixtures("real_player")
def test_rendering_with_the_real_player(maker: ModuleType, score: ModuleType) -> None:
    late = [score.Note("flute", 1.0, 1.0, 69, 100)]
    audio = maker.render(maker.midi_file(late), maker.SOUNDFONT)
    assert audio.dtype == np.float32
    assert audio.shape[0] == 2
    before, during = audio[:, : maker.RATE * 9 // 10], audio[:, maker.RATE * 5 // 4 : maker.RATE * 7 // 4]
    assert np.abs(before).max() < 1e-3 < np.abs(during).max()
    spectrum = np.abs(np.fft.rfft(during.mean(axis=0) * np.hanning(during.shape[1])))
    assert spectrum[215:225].max() == pytest.approx(spectrum[20:300].max()), "A4 is 440 Hz, two hertz a bin"


def run(maker: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = maker.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_score_alone_is_written_to_a_midi_file(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "song.mid"
    code, out, err = run(maker, capsys, path, "--seed", 5)
    assert (code, err) == (0, "")
    assert str(path) in out
    assert path.read_bytes() == maker.midi_file(maker.compose(5))


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
    code, _, err = run(maker, capsys, output, "--soundfont", path)
    assert (code, err) == (1, f"make_song: {message}\n".replace("FONT", str(path)).replace("INSTALL", maker.INSTALL))
    assert not output.exists()


def test_an_output_that_cannot_be_written_is_reported_in_one_line(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "no folder" / "song.mid"
    assert run(maker, capsys, path) == (1, "", f"make_song: {path}: cannot be written: No such file or directory\n")
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        maker.encode(np.ones((2, maker.RATE), np.float32), path.with_suffix(".mp3"))
