"""Standard output and standard error that are full, closed, or not read: a clear line at most, the right exit code."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamtag.cli.standard_streams import standard_streams
from streamtag.errors import OutputError
from tests.cli.conftest import ENVIRONMENT, MakeSound, Run

FULL = Path("/dev/full")  # Linux's disk that has no room
FULL_DISK_ERROR = "streamtag: standard output: cannot write: no space left on device\n"
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def _run(redirection: str, *arguments: str | Path, unbuffered: bool = False) -> tuple[int, str, str]:
    """A process of its own, by a shell. -> exit code, standard output, standard error, as far as they are caught."""
    options = ["-u"] if unbuffered else []
    command = [sys.executable, *options, "-m", "streamtag.cli", *map(str, arguments)]
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=ENVIRONMENT,
    )
    return done.returncode, done.stdout, done.stderr


@needs_full
@pytest.mark.slow
def test_a_full_disk_behind_standard_output_is_reported_in_one_line(
    make_sound: MakeSound, model: Path, tmp_path: Path
) -> None:
    table = tmp_path / "tags.csv"
    arguments = ("file", make_sound(seconds=3), "--json", "--csv", table, "--model", model)
    assert _run(">/dev/full", *arguments) == (1, "", FULL_DISK_ERROR)
    assert not table.exists()  # a table that is not whole


@needs_full
@pytest.mark.parametrize(("option", "unbuffered"), [("--help", False), ("--version", True)])
def test_a_full_disk_is_reported_by_commands_without_a_stream(option: str, unbuffered: bool) -> None:
    assert _run(">/dev/full", option, unbuffered=unbuffered) == (1, "", FULL_DISK_ERROR)


@pytest.mark.slow
def test_a_closed_standard_output_is_like_a_closed_pipe(make_sound: MakeSound, model: Path) -> None:
    assert _run(">&-", "file", make_sound(seconds=3), "--model", model) == (141, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&-", pytest.param("2>/dev/full", marks=needs_full)])
def test_a_closed_or_full_standard_error_does_not_affect_results(
    streamtag: Run, make_sound: MakeSound, model: Path, tmp_path: Path, redirection: str
) -> None:
    song = make_sound(seconds=3)
    expected = streamtag("file", "--table", song).out
    run = _run(redirection, "file", "--table", song, tmp_path / "nothing.mp3", "--model", model)
    assert run == (1, expected, "")


def test_both_streams_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO(), io.BytesIO()
    before = tuple(io.TextIOWrapper(each, encoding="utf-8") for each in raw)
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        monkeypatch.setattr(sys, name, stream)
    print("first")
    with standard_streams():
        print("second ♪")
        print("an error", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    print("third", flush=True)
    assert [each.getvalue().decode() for each in raw] == ["first\nsecond ♪\nthird\n", "an error\n"]


@needs_full
def test_only_standard_output_raises_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as files:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, files.enter_context(FULL.open("w", encoding="utf-8")))
        with standard_streams():
            print("long", file=sys.stderr, flush=True)
            with pytest.raises(OutputError, match=r"^standard output: cannot write: no space left on device$"):
                print("long", flush=True)
