"""What is wrong on the command line itself: exit code 2, one line in our words, one line that says what to try."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import MakeSound, Run

HELP = "--help"
LIBRARY_WORDS = re.compile(
    r"Error:|Usage:|Invalid value|Missing|Input should|No such|unexpected extra|requires|Traceback"
)


@pytest.mark.parametrize(
    ("arguments", "line", "hint"),
    [
        ("lisen", ": lisen: no such command; did you mean listen?", HELP),
        ("dance", ": dance: no such command", HELP),
        ("song.mp3 --json", ": song.mp3: not a command", "streamtag file song.mp3 --json"),
        ("https://h/a.ogg", ": https://h/a.ogg: not a command", "streamtag file https://h/a.ogg"),
        ("--json song.mp3", ": --json: no such option", HELP),
        ("--", ": a command is missing", HELP),
        ("help dance", " help: dance: no such topic: name a command, or protocol", "streamtag help"),
        ("file", " file: PATH|URL|-... is missing", HELP),
        ("file x --jsn", " file: --jsn: no such option; did you mean --json?", HELP),
        ("file x -z", " file: -z: no such option", HELP),
        ("file x --csv", " file: --csv needs a value: --csv F", HELP),
        ("file x --json=3", " file: --json takes no value", HELP),
        ("file x --top 0", " file: --top 0: must be a whole number, 1 or more", HELP),
        ("file x --top many", " file: --top many: must be a whole number, 1 or more", HELP),
        ("file x --top 1.5", " file: --top 1.5: must be a whole number, 1 or more", HELP),
        ("file x --threshold much", " file: --threshold much: must be a number", HELP),
        ("file x --threshold 1.5", " file: --threshold 1.5: must lie between 0 and 1, both excluded", HELP),
        ("file x --threshold 0", " file: --threshold 0: must lie between 0 and 1, both excluded", HELP),
        ("file x --threshold nan", " file: --threshold nan: must lie between 0 and 1, both excluded", HELP),
        ("file x --tags ,", " file: --tags: names nothing", HELP),
        ("file x --concepts a --tags b", " file: --tags and --concepts exclude each other", HELP),
        ("file x --device abacus", " file: --device abacus: must be auto, cpu or cuda", HELP),
        ("file x --plot x.gif", " file: x.gif: cannot draw: the name must end in one of .png, .svg, .pdf", HELP),
        ("file x --table --summary", " file: --table and --summary exclude each other", HELP),
        ("file x --json --table", " file: --json prints messages only: leave out --table and --summary", HELP),
        ("file x --start soon", " file: --start 'soon' is not a time: give seconds, M:SS or H:MM:SS", HELP),
        (
            "file x --start 1:75",
            " file: --start '1:75' is not a time: 60 seconds are a minute, and 60 minutes an hour",
            HELP,
        ),
        ("file x --duration 0", " file: --duration 0: must be longer than 0", HELP),
        ("file x --force", " file: --force goes with --write-tags", HELP),
        (
            "file x --segments s.csv",
            " file: s.csv: cannot write segments: the name must end in one of .json, .txt, .vtt",
            HELP,
        ),
        ("file x --tls-key k", " file: --max-clients, --allow-origin and --tls-... go with --serve", HELP),
        (
            "file x --serve host",
            " file: host: not an address to serve: give PORT or HOST:PORT, as in 8765 or 0.0.0.0:8765",
            HELP,
        ),
        ("listen --from file.mp3", " listen: --from file.mp3: a file, not an address", "streamtag file file.mp3"),
        (
            "listen --from - --system",
            " listen: --system is the only source: leave out --from, and all but one --input",
            HELP,
        ),
        (
            "listen --from http://h/a --from rtsp://h/b --save-audio a.wav",
            " listen: --save-audio writes the audio of one source",
            HELP,
        ),
        ("listen --for 0", " listen: --for 0: must be a number of seconds above 0", HELP),
        ("serve 80808", " serve: 80808: ports go from 0 to 65535", HELP),
        ("serve", " serve: [HOST:]PORT is missing", HELP),
        (
            "serve ho/st:1",
            " serve: 'ho/st': not a host to listen on",
            HELP,
        ),
        ("watch ftp://h/", " watch: ftp://h/: only ws:// and wss:// addresses can be watched", HELP),
        ("replay x", " replay: where to? add --serve [HOST:]PORT or --json", HELP),
        ("catalog x --out t.xlsx", " catalog: t.xlsx: a table ends in .parquet or .csv", HELP),
        ("catalog x", " catalog: --out F is missing", HELP),
        (
            "catalog x --out t.csv --ray --threads 2",
            " catalog: --threads does not go with --ray, which has --actors",
            HELP,
        ),
        ("model too many", " model: too: one argument too many", HELP),
        ("bench quick", " bench: quick: must be all, live or streams", HELP),
        ("bench live --seconds 4", " bench: --seconds 4: must be a number from 10 to 86400", HELP),
    ],
)
def test_wrong_usage(
    streamtag: Run, arguments: str, line: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = streamtag(*arguments.split(), small=False)
    assert (answer.code, answer.out) == (2, "")
    command = f"streamtag{line.partition(': ')[0].rstrip(':')}"
    assert answer.err.splitlines() == [f"streamtag{line}", f"try: {f'{command} {HELP}' if hint == HELP else hint}"]
    assert not LIBRARY_WORDS.search(answer.err)
    assert list(tmp_path.iterdir()) == []


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
    [(("--csv", "song.wav"), "is one of the inputs"), (("--csv", "t.txt", "--labels", "t.txt"), "for two results")],
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
