"""Standard output and standard error that are full, closed, or not read: a clear line at most, the right exit code."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamtag.cli.standard_streams import standard_streams
from streamtag.errors import OutputError

MakeSound = Callable[..., Path]
FULL = Path("/dev/full")  # Linux's disk that has no room
TOLD = "streamtag: standard output: cannot write: no space left on device\n"
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
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout, done.stderr


@needs_full
@pytest.mark.parametrize("options", [[], ["--json"], ["--csv", "tags.csv"]], ids=" ".join)
def test_a_full_disk_behind_standard_output_is_told_in_one_line(
    make_sound: MakeSound, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(">/dev/full", "file", make_sound(seconds=3), "--model", model, *options) == (1, "", TOLD)
    assert not Path("tags.csv").exists()  # a table that is not whole


@needs_full
@pytest.mark.parametrize("unbuffered", [False, True])
def test_so_it_is_for_what_is_printed_without_a_stream(model: Path, unbuffered: bool) -> None:
    for arguments in (["model", "--model", model], ["model", "--json", "--model", model], ["--help"], ["--version"]):
        assert _run(">/dev/full", *arguments, unbuffered=unbuffered) == (1, "", TOLD)


def test_a_standard_output_that_is_closed_is_like_a_closed_pipe(make_sound: MakeSound, model: Path) -> None:
    for options in ([], ["--json"]):
        assert _run(">&-", "file", make_sound(seconds=3), "--model", model, *options) == (141, "", "")


def test_a_standard_error_that_is_closed_costs_no_results_and_puts_nothing_among_them(
    make_sound: MakeSound, model: Path, tmp_path: Path
) -> None:
    song = make_sound(seconds=3)
    heard = _run("", "file", song, "--model", model)
    assert heard[0] == 0
    assert _run("2>&-", "file", song, "--model", model) == heard
    code, out, err = _run("2>&-", "file", song, tmp_path / "nothing.mp3", "--model", model)
    assert (code, out, err) == (1, *heard[1:])


@needs_full
def test_a_full_disk_behind_standard_error_costs_no_results(make_sound: MakeSound, model: Path, tmp_path: Path) -> None:
    song = make_sound(seconds=3)
    heard = _run("", "file", song, "--model", model)
    assert _run("2>/dev/full", "file", song, tmp_path / "nothing.mp3", "--model", model) == (1, *heard[1:])


class Full(io.RawIOBase):
    """Has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if len(data) > self.room:
            raise OSError(28, "No space left on device")
        self.room -= len(data)
        self.taken += bytes(data)
        return len(data)


def _text(raw: Full) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")  # type: ignore[type-var]


def test_both_streams_are_as_before_when_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Full(100), Full(100)
    before = tuple(_text(each) for each in raw)
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        monkeypatch.setattr(sys, name, stream)
    print("first")
    with standard_streams():
        print("second ♪")
        print("an error", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    print("third", flush=True)
    assert (raw[0].taken.decode(), raw[1].taken.decode()) == ("first\nsecond ♪\nthird\n", "an error\n")


def test_only_standard_output_tells_of_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, _text(Full(3)))
    with standard_streams():
        print("long", file=sys.stderr, flush=True)
        with pytest.raises(OutputError, match=r"^standard output: cannot write: no space left on device$"):
            print("long", flush=True)
