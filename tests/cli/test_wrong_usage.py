"""What is wrong on the command line itself: exit code 2, one line in our words, one line that says what to try."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import MakeSound, Run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("file", "PATH|URL|-... is missing"),
        ("file x --jsn", "--jsn: no such option; did you mean --json?"),
        ("file x --csv", "--csv needs a value: --csv F"),
        ("file x --json=3", "--json takes no value"),
        ("file x --top 0", "--top 0: must be a whole number, 1 or more"),
        ("file x --threshold nan", "--threshold nan: must lie between 0 and 1, both excluded"),
        ("file x --tags ,", "--tags: names nothing"),
        ("file x --concepts a --tags b", "--tags and --concepts exclude each other"),
        ("file x --device abacus", "--device abacus: must be auto, cpu or cuda"),
        ("file x --plot x.gif", "x.gif: cannot draw: the name must end in one of .png, .svg, .pdf"),
        ("file x --table --summary", "--table and --summary exclude each other"),
        ("file x --json --table", "--json prints messages only: leave out --table and --summary"),
        ("file x --start soon", "--start 'soon' is not a time: give seconds, M:SS or H:MM:SS"),
        ("file x --duration 0", "--duration 0: must be longer than 0"),
        ("file x --force", "--force goes with --write-tags"),
        ("file x --segments s.csv", "s.csv: cannot write segments: the name must end in one of .json, .txt, .vtt"),
        ("file x --tls-key k", "--max-clients, --allow-origin and --tls-... go with --serve"),
        ("file x --serve host", "host: not an address to serve: give PORT or HOST:PORT, as in 8765 or 0.0.0.0:8765"),
        (
            "listen --from http://h/a --from rtsp://h/b --save-audio a.wav",
            "--save-audio writes the audio of one source",
        ),
        (
            "listen --from - --rate 16000",
            "raw PCM needs both --rate and --format; without them any audio container is read",
        ),
        ("listen --rate 16000", "--rate, --format and --channels describe raw PCM on standard input: add --from -"),
        ("listen --from - --channels 2", "--channels goes with --rate and --format"),
        ("listen --osc 9", "OSC: '9': give HOST:PORT, such as 127.0.0.1:9000; an IPv6 address in brackets"),
        ("listen --mqtt mqtt://h --mqtt-ca f", "mqtt://h:1883: --mqtt-ca is for mqtts:// addresses"),
        ("listen --mqtt-discovery ha", "--mqtt-ca and --mqtt-discovery go with --mqtt"),
        ("file x --keep 3", "--keep goes with --history"),
        ("file x --history h --keep 0", "--keep 0: must be a number of days above 0, at most 36500"),
        ("listen --for 0", "--for 0: must be a number of seconds above 0"),
        ("serve", "[HOST:]PORT is missing"),
        ("watch ftp://h/", "ftp://h/: only ws:// and wss:// addresses can be watched"),
        ("replay x", "where to? add --serve [HOST:]PORT or --json"),
        ("catalog x --out t.xlsx", "t.xlsx: a table ends in .parquet or .csv"),
        ("catalog x", "--out F is missing"),
        ("catalog x --out t.csv --ray --threads 2", "--threads does not go with --ray, which has --actors"),
        ("model too many", "too: one argument too many"),
        ("bench quick", "quick: must be all, live or streams"),
        ("bench live --seconds 4", "--seconds 4: must be a number from 10 to 86400"),
    ],
)
def test_wrong_usage_of_a_command(
    streamtag: Run, arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = streamtag(*arguments.split(), small=False)
    command = f"streamtag {arguments.split()[0]}"
    assert (answer.code, answer.out, answer.err) == (2, "", f"{command}: {message}\ntry: {command} --help\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line", "hint"),
    [
        ("lisen", ": lisen: no such command; did you mean listen?", "streamtag --help"),
        ("--json song.mp3", ": --json: no such option", "streamtag --help"),
        ("--", ": a command is missing", "streamtag --help"),
        ("song.mp3 --json", ": song.mp3: not a command", "streamtag file song.mp3 --json"),
        ("help dance", " help: dance: no such topic: name a command, or protocol", "streamtag help"),
        ("listen --from file.mp3", " listen: --from file.mp3: a file, not an address", "streamtag file file.mp3"),
    ],
)
def test_the_hint_says_what_to_try(streamtag: Run, arguments: str, line: str, hint: str) -> None:
    answer = streamtag(*arguments.split(), small=False)
    assert (answer.code, answer.out, answer.err) == (2, "", f"streamtag{line}\ntry: {hint}\n")


def test_without_a_command_the_help_is_shown_as_an_error(streamtag: Run) -> None:
    answer = streamtag(small=False)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == streamtag("--help", small=False).out


@pytest.mark.parametrize("command", ["file", "listen", "serve"])
@pytest.mark.parametrize(("option", "kind"), [("--tags", "tag"), ("--concepts", "concept")])
def test_an_unknown_name(
    streamtag: Run, make_sound: MakeSound, tmp_path: Path, command: str, option: str, kind: str
) -> None:
    table = tmp_path / "t.csv"
    where = {"file": f"{make_sound(seconds=1)} --csv {table}", "listen": "--from -", "serve": "0"}[command]
    answer = streamtag(command, *where.split(), option, "guitar,guitat", "--json")
    assert answer.code == 2
    message = f"guitat: not a {kind} of this model (did you mean 'guitar'?); `streamtag model` lists them"
    assert answer.err.splitlines() == [f"streamtag {command}: {message}", f"try: streamtag {command} --help"]
    assert json.loads(answer.out) == {"type": "error", "message": message}  # with --json it is a message too
    assert not table.exists()


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (("--csv", "song.wav"), "is one of the inputs"),
        (("--history", "song.wav"), "is one of the inputs"),
        (("--csv", "t.txt", "--labels", "t.txt"), "for two results"),
    ],
)
def test_results_that_exclude_each_other(
    streamtag: Run, make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch, targets: tuple[str, ...], reason: str
) -> None:
    path = make_sound("song.wav", 1)
    before = path.read_bytes()
    monkeypatch.chdir(path.parent)
    answer = streamtag("file", path, *targets)
    assert answer.code == 2
    assert reason in answer.err.splitlines()[0]
    assert path.read_bytes() == before
