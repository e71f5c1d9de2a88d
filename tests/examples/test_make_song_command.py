"""make_song.py as a command: what it writes, and one clear line for what is missing or broken."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def maker() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)  # what running the script does
        yield importlib.import_module("make_song")


def run(maker: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = maker.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_score_alone(maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "song.mid"
    code, out, err = run(maker, capsys, path, "--seed", 5)
    assert (code, err) == (0, "")
    assert str(path) in out
    assert path.read_bytes() == maker.midi_file(maker.compose(5))


def test_without_fluidsynth_one_line_says_how_to_get_it(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run(maker, capsys, tmp_path / "song.mp3")
    assert code == 1
    assert err == f"make_song: fluidsynth: not installed: {maker.INSTALL}\n"
    assert not (tmp_path / "song.mp3").exists()


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for fluidsynth where only its failures matter; a test writes its body."""
    script = tmp_path / "bin" / "fluidsynth"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho 'cannot load it' >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    return script


@pytest.mark.usefixtures("player")
def test_a_missing_soundfont(maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    font = tmp_path / "none.sf2"
    code, _, err = run(maker, capsys, tmp_path / "song.mp3", "--soundfont", font)
    assert code == 1
    assert err == f"make_song: {font}: no such soundfont: {maker.INSTALL}\n"


@pytest.mark.usefixtures("player")
def test_a_player_that_fails(maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    font = tmp_path / "broken.sf2"
    font.write_bytes(b"no soundfont")
    code, _, err = run(maker, capsys, tmp_path / "song.mp3", "--soundfont", font)
    assert code == 1
    assert err == f"make_song: {font}: fluidsynth cannot play with it: cannot load it\n"


def test_a_player_that_stays_silent(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], player: Path
) -> None:
    player.write_text("#!/bin/sh\nexit 0\n")
    font = tmp_path / "broken.sf2"
    font.write_bytes(b"no soundfont")
    code, _, err = run(maker, capsys, tmp_path / "song.mp3", "--soundfont", font)
    assert code == 1
    assert err == f"make_song: {font}: fluidsynth cannot play with it: no sound came out\n"


@pytest.mark.parametrize("name", ["song.mp3", "song.mid"])
def test_an_output_that_cannot_be_written(
    maker: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(maker, "render", lambda *_: np.ones((2, maker.RATE), np.float32))
    path = tmp_path / "no folder" / name
    code, out, err = run(maker, capsys, path)
    assert (code, out) == (1, "")
    assert err == f"make_song: {path}: cannot be written: No such file or directory\n"


@pytest.fixture(scope="module")
def real_player(maker: ModuleType) -> None:
    if maker.shutil.which("fluidsynth") is None or not maker.SOUNDFONT.is_file():
        pytest.skip(f"needs {maker.INSTALL}")


@pytest.mark.usefixtures("real_player")
def test_what_is_no_soundfont_is_not_replaced_by_another(
    maker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    font = tmp_path / "font.sf2"
    font.write_text("not at all a soundfont, only a few words")
    code, out, err = run(maker, capsys, tmp_path / "song.mp3", "--soundfont", font)
    assert (code, out) == (1, "")
    assert err.startswith(f"make_song: {font}: fluidsynth cannot play with it: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "song.mp3").exists()
