"""Which files a folder or a pattern stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtag.audio.files import find_files
from streamtag.errors import SourceError


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for name in ("b.mp3", "a.FLAC", "notes.txt", ".hidden.mp3", "deep/c.ogg", "deep/er/d.mkv", ".git/e.wav"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "looks.mp3").mkdir()
    return tmp_path


def names(found: list[str], root: Path) -> list[str]:
    return [Path(file).relative_to(root).as_posix() for file in found]


def test_a_folder_is_searched_recursively_and_sorted(music: Path) -> None:
    assert names(find_files([str(music)]), music) == ["a.FLAC", "b.mp3", "deep/c.ogg", "deep/er/d.mkv"]


def test_a_named_file_may_end_as_it_likes(music: Path) -> None:
    assert find_files([str(music / "notes.txt")]) == [str(music / "notes.txt")]


def test_the_order_of_the_arguments_stays_and_nothing_comes_twice(music: Path) -> None:
    arguments = [str(music / "deep"), str(music / "b.mp3"), str(music)]
    assert names(find_files(arguments), music) == ["deep/c.ogg", "deep/er/d.mkv", "b.mp3", "a.FLAC"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp3", ["b.mp3"]),
        ("?.*", ["a.FLAC", "b.mp3"]),
        ("**/*.ogg", ["deep/c.ogg"]),
        ("d*", ["deep/c.ogg", "deep/er/d.mkv"]),
        ("*", ["a.FLAC", "b.mp3", "deep/c.ogg", "deep/er/d.mkv"]),
    ],
)
def test_patterns(music: Path, pattern: str, expected: list[str]) -> None:
    assert names(find_files([str(music / pattern)]), music) == expected


def test_a_file_whose_name_looks_like_a_pattern(music: Path) -> None:
    file = music / "live [1999].mp3"
    file.write_bytes(b"x")
    assert find_files([str(file)]) == [str(file)]


def test_addresses_and_standard_input_pass_through() -> None:
    arguments = ["https://example.org/a*.mp3", "-", "http://example.org/b"]
    assert find_files(arguments) == arguments


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("missing.mp3", "missing.mp3: no such file"),
        ("b.mp3/below", "below: no such file"),
        ("empty", "empty: no audio files in this folder"),
        ("*.opus", r"\*\.opus: no audio file fits this pattern"),
        ("emp*", r"emp\*: no audio file fits this pattern"),
    ],
)
def test_what_is_not_there(music: Path, argument: str, message: str) -> None:
    with pytest.raises(SourceError, match=f"{message}$"):
        find_files([str(music / argument)])


@pytest.mark.parametrize("argument", ["", "rtsp://example.org/x", "http://", "http://[bad/x.mp3"])
def test_arguments_that_are_no_place(argument: str) -> None:
    with pytest.raises(SourceError):
        find_files([argument])
