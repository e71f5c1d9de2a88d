"""What a user can get wrong: a clear line, the right exit code, no traceback, nothing half written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
MakeSound = Callable[..., Path]


def _one_clear_line(text: str) -> str:
    assert text.count("\n") == 1
    assert text.startswith("streamtag: ")
    assert "Traceback" not in text
    return text.removeprefix("streamtag: ").rstrip("\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["file"],
        ["listne"],
        ["file", "x.wav", "--no-such-option"],
        ["file", "x.wav", "--top", "0"],
        ["file", "x.wav", "--top", "many"],
        ["file", "x.wav", "--threshold", "1.5"],
        ["file", "x.wav", "--threshold", "0"],
        ["file", "x.wav", "--threshold", "nan"],
        ["file", "x.wav", "--tags", " , "],
        ["file", "x.wav", "--device", "abacus"],
        ["file", "x.wav", "--csv"],
        ["model", "too", "many"],
        ["catalog", "x"],
        ["catalog", "x", "--out", "t.csv", "--workers", "2"],
        ["catalog", "x", "--out", "t.csv", "--actors", "2"],
        ["catalog", "x", "--out", "t.csv", "--ray", "--threads", "2"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_with_a_hint(streamtag: Run, arguments: list[str]) -> None:
    answer = streamtag(*arguments, small=False)
    assert answer.code == 2
    assert "Usage: streamtag" in answer.out + answer.err or answer.err.startswith("Error: ")
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("missing.wav", "no such file"),
        ("*.flac", "no audio file fits this pattern"),
        ("empty folder", "no audio files in this folder"),
        ("ftp://example.org/a.mp3", "only http:// and https:// addresses can be opened"),
        ("", "is empty"),
        ("http://127.0.0.1:9/a.mp3", "cannot be reached"),
    ],
)
def test_a_source_that_is_not_there(
    streamtag: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty folder").mkdir()
    answer = streamtag("file", source)
    assert answer.code == 1
    assert reason in _one_clear_line(answer.err)
    assert answer.out == ""


def test_files_that_are_no_sound(streamtag: Run, tmp_path: Path) -> None:
    files = {
        "empty.mp3": b"",
        "text.mp3": b"These are words.\n" * 300,
        "zeros.wav": bytes(5000),
        "riff.wav": b"RIFF",
    }
    for name, contents in files.items():
        path = tmp_path / name
        path.write_bytes(contents)
        answer = streamtag("file", path)
        assert answer.code == 1, name
        assert str(path) in _one_clear_line(answer.err)
        assert answer.out == ""


@pytest.mark.parametrize("contents", [b"", b"not a model", b"\xff" * 5000, b'\x10\x00\x00\x00\x00\x00\x00\x00{"a":'])
def test_a_model_file_that_is_no_model(streamtag: Run, make_sound: MakeSound, tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(contents)
    for arguments in (["file", make_sound(seconds=1), "--model", path], ["model", "--model", path]):
        answer = streamtag(*arguments, small=False)
        assert answer.code == 1
        assert str(path) in _one_clear_line(answer.err)
        assert answer.out == ""


def test_a_model_file_that_is_missing_or_a_folder(streamtag: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "no.safetensors", tmp_path):
        answer = streamtag("model", "--model", path, small=False)
        assert answer.code == 1
        assert str(path) in _one_clear_line(answer.err)


def test_a_tag_that_the_model_does_not_know(streamtag: Run, make_sound: MakeSound) -> None:
    answer = streamtag("file", make_sound(seconds=1), "--tags", "guitar,guitat")
    assert answer.code == 1
    assert _one_clear_line(answer.err).startswith("guitat: not a tag of this model (did you mean 'guitar'?)")


@pytest.mark.parametrize("option", ["--csv", "--labels", "--plot"])
def test_a_result_that_cannot_be_written_is_found_before_the_work(
    streamtag: Run, make_sound: MakeSound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def too_late(*_: object) -> None:
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr("streamtag.api.load", too_late)
    path = make_sound(seconds=1)
    for target in (tmp_path / "no folder" / "t.png", tmp_path):
        answer = streamtag("file", path, option, target if option != "--plot" else target / "x" / "t.png")
        assert answer.code == 1
        assert "cannot write" in _one_clear_line(answer.err)


def test_an_input_is_never_written_over(streamtag: Run, make_sound: MakeSound) -> None:
    path = make_sound("song.wav", 1)
    before = path.read_bytes()
    for option in ("--csv", "--labels"):
        answer = streamtag("file", path, option, path)
        assert answer.code == 1
        assert "is one of the inputs" in _one_clear_line(answer.err)
    assert path.read_bytes() == before


def test_a_picture_needs_a_known_suffix(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    answer = streamtag("file", make_sound(seconds=1), "--plot", tmp_path / "t.bmp")
    assert answer.code == 1
    assert "must end in one of" in _one_clear_line(answer.err)


def test_a_table_is_not_left_behind_where_no_work_was_done(
    streamtag: Run, make_sound: MakeSound, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    answer = streamtag("file", make_sound(seconds=1), "--csv", out / "t.csv", "--tags", "no such tag")
    assert answer.code == 1
    assert list(out.iterdir()) == []


def test_names_that_are_no_utf8(streamtag: Run, tmp_path: Path) -> None:
    path = tmp_path / "so\udcffng.wav"
    path.write_bytes(b"no sound")
    for options in ([], ["--json"]):
        answer = streamtag("file", path, *options)
        assert answer.code == 1
        assert "so?ng.wav" in _one_clear_line(answer.err)
