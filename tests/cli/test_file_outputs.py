"""`streamtag file --segments F` and `--write-tags`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import mutagen
import pytest

from streamtag.cli import main
from tests.cli.conftest import MakeSound, Run, song
from tests.conftest import Encode


def test_each_input_has_segments_of_its_own(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    sounds = make_sound("a.wav", 5), make_sound("b.wav", 4)
    answer = streamtag("file", *sounds, "--segments", tmp_path / "s.json", "--start", "1")
    written = [tmp_path / "s-a.json", tmp_path / "s-b.json"]
    assert answer.code == 0
    assert answer.err.splitlines() == [f"streamtag: wrote {path}" for path in written]
    chapters = [json.loads(path.read_text())["chapters"] for path in written]
    assert [(each[0]["startTime"], each[-1]["endTime"]) for each in chapters] == [(1, 5), (1, 4)]


@pytest.fixture
def genre_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every stream techno for all of its length."""
    verdict = {"genre": ("techno",)}
    monkeypatch.setattr("streamtag.sinks.genre_tags.end_verdict", lambda *_: verdict)


def genre_of(path: Path) -> list[str]:
    file: Any = mutagen.File(path)
    return [] if file.tags is None else list(file.tags.get("TCON", []))


@pytest.mark.usefixtures("genre_model")
def test_genres_are_written_into_the_files_and_kept_there(streamtag: Run, make_sound: MakeSound) -> None:
    first, second = make_sound("a.mp3", 2), make_sound("b.wav", 2)
    answer = streamtag("file", first, second, "--write-tags", "--summary")
    assert answer.code == 0
    assert answer.err.splitlines() == [f"streamtag: {path}: wrote the genre Techno" for path in (first, second)]
    assert genre_of(first) == genre_of(second) == ["Techno"]
    again = streamtag("file", first, "--write-tags", "--summary")
    assert again.err == f"streamtag: {first}: has the genre Techno already\n"


@pytest.mark.usefixtures("genre_model")
def test_what_holds_no_tags_fails_and_does_not_stop_the_others(
    streamtag: Run, make_sound: MakeSound, tmp_path: Path, encode: Encode
) -> None:
    video = encode(tmp_path / "a.mkv", song(2), 16000, "flac")
    sound = make_sound("b.wav", 2)
    answer = streamtag("file", video, sound, "--write-tags")
    assert answer.code == 1
    assert answer.err.splitlines() == [
        f"streamtag: {video}: no tags written: this kind of file holds none that can be written",
        f"streamtag: {sound}: wrote the genre Techno",
    ]
    piped = streamtag("file", "-", "--write-tags", stdin=sound.read_bytes())
    assert piped.code == 1
    assert piped.err == "streamtag: standard input: no tags written: is not a file on this machine\n"


@pytest.mark.usefixtures("genre_model")
def test_a_file_that_breaks_off_is_left_alone(streamtag: Run, make_sound: MakeSound) -> None:
    path = make_sound("a.wav", 2)
    before = path.read_bytes()
    assert streamtag("file", path, "--write-tags", "--start", "9").code == 1
    assert path.read_bytes() == before


def test_without_mutagen_it_is_named(
    make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mutagen", None)
    assert main(["file", os.fspath(make_sound()), "--write-tags"]) == 1
    assert (
        capsys.readouterr().err == "streamtag: --write-tags needs the package mutagen: pip install 'streamtag[tags]'\n"
    )
