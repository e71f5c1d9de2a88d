"""What a user can get wrong: a clear line, the right exit code, no traceback, nothing half written."""

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
        ["file", "x.wav", "--concepts", ","],
        ["file", "x.wav", "--concepts", "a", "--tags", "b"],
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
        ("--plot", "t.bmp", "must end in one of"),
        ("--csv", "song.wav", "is one of the inputs"),
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


def test_an_unknown_tag_is_reported_and_leaves_no_table(streamtag: Run, make_sound: MakeSound, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    answer = streamtag("file", make_sound(seconds=1), "--csv", table, "--tags", "guitar,guitat")
    assert answer.code == 1
    assert _one_clear_line(answer.err).startswith("guitat: not a tag of this model (did you mean 'guitar'?)")
    assert not table.exists()


def test_names_that_are_no_utf8(streamtag: Run, tmp_path: Path) -> None:
    path = tmp_path / "so\udcffng.wav"
    path.write_bytes(b"no sound")
    for options in ([], ["--json"]):
        answer = streamtag("file", path, *options)
        assert answer.code == 1
        assert "so?ng.wav" in _one_clear_line(answer.err)
