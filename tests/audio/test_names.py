"""What streams and their files are called."""

from __future__ import annotations

from pathlib import Path

from streamtag.audio.files import stream_names, target_paths


def test_a_stream_is_called_after_its_file() -> None:
    assert stream_names(["music/song.mp3", "/tmp/Ünï 東京.flac"]) == ["song.mp3", "Ünï 東京.flac"]


def test_files_of_one_name_are_told_apart() -> None:
    names = stream_names(["a/song.mp3", "b/song.mp3", "c/song.mp3"])
    assert names == ["song.mp3", "song.mp3 (2)", "song.mp3 (3)"]


def test_urls_and_standard_input() -> None:
    sources = ["https://me:secret@example.org/a/My%20song.ogg?key=1", "http://example.org/", "-"]
    assert stream_names(sources) == ["My song.ogg", "example.org", "stdin"]


def test_one_stream_has_the_target_itself() -> None:
    assert target_paths(Path("out/tags.labels"), ["song.mp3"]) == [Path("out/tags.labels")]


def test_several_streams_have_files_of_their_own_beside_it() -> None:
    paths = target_paths(Path("out/tags.png"), ["song.mp3", "song.flac", "a/b.mp3", "x"])
    assert [path.name for path in paths] == [
        "tags-song.png",
        "tags-song (2).png",
        "tags-a_b.png",
        "tags-x.png",
    ]
    assert {path.parent for path in paths} == {Path("out")}
