"""What fails although the command line is right: one clear line, exit code 1, no traceback, nothing half written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MakeSound, Run


def _one_clear_line(text: str) -> str:
    assert text.count("\n") == 1
    assert text.startswith("streamtag: ")
    assert "Traceback" not in text
    return text.removeprefix("streamtag: ").rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["file", "missing.wav"], "missing.wav: no such file"),
        (["file", "ftp://example.org/a.mp3"], "only http:// and https:// addresses can be opened"),
        (["file", "http://127.0.0.1:9/a.mp3"], "cannot be reached"),
        (
            ["file", "song.wav", "--history", "no/folder/h.sqlite"],
            "no/folder/h.sqlite: cannot write: there is no folder",
        ),
        (["file", "song.wav", "--history", "song.db"], "song.db: not a history, but another file"),
        (["history", "song.wav", "--json", "--out", "t.csv"], "song.wav: not a history, but another file"),
        (["listen", "--from", "http://127.0.0.1:9/radio"], "cannot be reached"),
        (["listen", "--from", "-"], "standard input: is empty"),
        (["listen", "--from", "-", "--rate", "16000", "--format", "s16le"], "standard input: is empty"),
        (["listen", "--from", "-", "--record", "no/folder/r.jsonl"], "there is no folder"),
        (["listen", "--from", "-", "--save-audio", "no/folder/a.wav"], "there is no folder"),
        (["listen", "--from", "-", "--mqtt", "mqtts://u:secret@h", "--mqtt-ca", "no.pem"], "no.pem: No such file"),
        (["serve", "nowhere.invalid:8765"], "nowhere.invalid:8765: cannot be served: "),
        (["serve", "0", "--record", "no/folder/r.jsonl"], "there is no folder"),
        (["replay", "missing.jsonl", "--json"], "missing.jsonl: no such file"),
    ],
)
def test_what_cannot_work(
    streamtag: Run,
    make_sound: MakeSound,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_sound("song.wav", 1)
    make_sound("song.db.wav", 1).rename("song.db")
    answer = streamtag(*arguments, stdin=b"", small=arguments[0] not in ("history", "replay"))
    assert (answer.code, "secret" in answer.err, Path("t.csv").exists()) == (1, False, False)
    *_, line = answer.err.splitlines(keepends=True)  # after what is listened to
    assert reason in _one_clear_line(line)


@pytest.mark.parametrize("name", ["text.safetensors", "no.safetensors", "."])
def test_a_model_file_that_is_no_model(streamtag: Run, make_sound: MakeSound, tmp_path: Path, name: str) -> None:
    (tmp_path / "text.safetensors").write_text("not a model")
    path = tmp_path / name
    for arguments in (["file", make_sound(seconds=1), "--model", path], ["model", "--model", path]):
        answer = streamtag(*arguments, small=False)
        assert answer.code == 1
        assert str(path) in _one_clear_line(answer.err)
        assert answer.out == ""


@pytest.mark.parametrize("option", ["--csv", "--labels", "--plot"])
def test_a_result_that_cannot_be_written_is_found_before_the_model_is_loaded(
    streamtag: Run, make_sound: MakeSound, option: str
) -> None:
    answer = streamtag("file", make_sound(seconds=1), option, "no folder/t.png", "--model", "no model", small=False)
    assert (answer.code, "t.png: cannot write" in _one_clear_line(answer.err)) == (1, True)


def test_names_that_are_no_utf8(streamtag: Run, tmp_path: Path) -> None:
    path = tmp_path / "so\udcffng.wav"
    path.write_bytes(b"no sound")
    for options in ([], ["--json"]):
        answer = streamtag("file", path, *options)
        assert answer.code == 1
        assert "so?ng.wav" in _one_clear_line(answer.err)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        *((f"{command} --mqtt mqtt://h/", "aiomqtt", "mqtt") for command in ("file x", "listen", "serve 0", "watch 1")),
        ("file x --write-tags", "mutagen", "tags"),
    ],
)
def test_a_package_is_asked_for_before_anything_is_loaded(
    streamtag: Run, monkeypatch: pytest.MonkeyPatch, command: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    answer = streamtag(*command.split(), small=False)
    assert answer.code == 1
    assert _one_clear_line(answer.err).endswith(f" needs the package {module}: pip install 'streamtag[{extra}]'")
