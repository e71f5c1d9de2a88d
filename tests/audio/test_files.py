"""Addresses, the names of streams and result files, and the files that a folder or a pattern stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtag.audio.files import Address, find_files, stream_names, target_paths
from streamtag.errors import SourceError


@pytest.mark.parametrize(
    ("where", "kind", "label", "name", "suffix"),
    [
        ("music/song.mp3", "file", "music/song.mp3", "song.mp3", ".mp3"),
        ("C:\\song.mp3", "file", "C:\\song.mp3", "C:\\song.mp3", ".mp3"),
        ("concat:a.mp3|b.mp3", "file", "concat:a.mp3|b.mp3", "concat:a.mp3|b.mp3", ".mp3"),
        ("a.%03d", "file", "a.%03d", "a.%03d", ""),
        ("..", "file", "..", "..", ""),
        ("-", "pipe", "standard input", "stdin", ""),
        ("HTTPS://h.org/a%20b.mp3?x=1#t", "url", "https://h.org/a%20b.mp3?x=1", "a b.mp3", ""),
        ("http://h.org:8000/", "url", "http://h.org:8000/", "h.org:8000", ""),
        ("http://user:secret@h.org/live", "url", "http://h.org/live", "live", ""),
        ("two\nlines.mp3", "file", "two?lines.mp3", "two?lines.mp3", ".mp3"),
    ],
)
def test_the_kind_the_names_and_the_suffix_of_an_address(
    where: str, kind: str, label: str, name: str, suffix: str
) -> None:
    address = Address.of(where)
    assert (address.kind, address.label, address.name, address.suffix) == (kind, label, name, suffix)
    assert address.where == where


def test_files_of_one_name_are_told_apart() -> None:
    names = stream_names(["a/song.mp3", "b/song.mp3", "-", "https://h.org/song.mp3"])
    assert names == ["song.mp3", "song.mp3 (2)", "stdin", "song.mp3 (3)"]


def test_each_of_several_streams_has_a_target_of_its_own() -> None:
    assert target_paths(Path("out/tags.labels"), ["song.mp3"]) == [Path("out/tags.labels")]
    paths = target_paths(Path("out/tags.png"), ["song.mp3", "song.flac", "a/b.mp3", "x"])
    assert [path.name for path in paths] == [
        "tags-song.png",
        "tags-song (2).png",
        "tags-a_b.png",
        "tags-x.png",
    ]
    assert {path.parent for path in paths} == {Path("out")}


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


def test_the_order_of_the_arguments_stays_and_nothing_comes_twice(music: Path) -> None:
    arguments = [str(music / "deep"), str(music / "b.mp3"), str(music)]
    assert names(find_files(arguments), music) == ["deep/c.ogg", "deep/er/d.mkv", "b.mp3", "a.FLAC"]
    addresses = ["https://example.org/a*.mp3", "-", "http://example.org/b"]
    assert find_files(addresses) == addresses
    like_a_pattern = music / "live [1999].mp3"
    like_a_pattern.write_bytes(b"x")
    assert find_files([str(like_a_pattern)]) == [str(like_a_pattern)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.FLAC", "b.mp3", "deep/c.ogg", "deep/er/d.mkv"]),
        ("notes.txt", ["notes.txt"]),
        ("*.mp3", ["b.mp3"]),
        ("?.*", ["a.FLAC", "b.mp3"]),
        ("**/*.ogg", ["deep/c.ogg"]),
        ("d*", ["deep/c.ogg", "deep/er/d.mkv"]),
        ("*", ["a.FLAC", "b.mp3", "deep/c.ogg", "deep/er/d.mkv"]),
    ],
)
def test_a_folder_a_file_or_a_pattern_stands_for_sorted_files(music: Path, pattern: str, expected: list[str]) -> None:
    assert names(find_files([str(music / pattern)]), music) == expected


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
def test_what_is_not_there_is_an_error(music: Path, argument: str, message: str) -> None:
    with pytest.raises(SourceError, match=f"{message}$"):
        find_files([str(music / argument)])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "is empty"),
        ("http://", "not an address"),
        ("http://[bad/x.mp3", "not an address"),
        ("http://me:secret@/x", "^http:///x: not an address: no host in it$"),
        (
            "rtsp://me:secret@h/x",
            "^rtsp://h/x: only http:// and https:// .* `streamtag listen --from` reads live streams",
        ),
        ("ftp://h/x.mp3", "only http:// and https:// addresses can be opened$"),
    ],
)
def test_what_is_not_an_input_is_refused(argument: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        find_files([argument])
