"""What fails although the command line is right: one clear line, exit code 1, no traceback, nothing half written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import MakeSound, Run


def _one_clear_line(text: str) -> str:
    assert text.count("\n") == 1
    assert text.startswith("streamtag: ")
    assert "Traceback" not in text
    return text.removeprefix("streamtag: ").rstrip("\n")


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


@pytest.mark.parametrize("name", ["text.safetensors", "no.safetensors", "."])
def test_a_model_file_that_is_no_model(streamtag: Run, make_sound: MakeSound, tmp_path: Path, name: str) -> None:
    (tmp_path / "text.safetensors").write_text("not a model")
    path = tmp_path / name
    for arguments in (["file", make_sound(seconds=1), "--model", path], ["model", "--model", path]):
        answer = streamtag(*arguments, small=False)
        assert answer.code == 1
        assert str(path) in _one_clear_line(answer.err)
        assert answer.out == ""


@pytest.mark.parametrize(
    ("option", "target", "reason"),
    [
        ("--csv", "no folder/t.csv", "cannot write"),
        ("--labels", ".", "cannot write"),
        ("--plot", "no folder/t.png", "cannot write"),
    ],
)
def test_a_result_that_cannot_be_written_is_found_before_the_work(
    streamtag: Run,
    make_sound: MakeSound,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    target: str,
    reason: str,
) -> None:
    def too_late(*_: object) -> None:
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr("streamtag.api.load", too_late)
    path = make_sound("song.wav", 1)
    before = path.read_bytes()
    answer = streamtag("file", path, option, tmp_path / target)
    assert answer.code == 1
    assert reason in _one_clear_line(answer.err)
    assert path.read_bytes() == before


def test_names_that_are_no_utf8(streamtag: Run, tmp_path: Path) -> None:
    path = tmp_path / "so\udcffng.wav"
    path.write_bytes(b"no sound")
    for options in ([], ["--json"]):
        answer = streamtag("file", path, *options)
        assert answer.code == 1
        assert "so?ng.wav" in _one_clear_line(answer.err)
