"""Completion in a shell: of commands, options and values, by a real bash; what zsh and fish are given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BASH = shutil.which("bash")
SCRIPT = """
eval "$(_STREAMTAG_COMPLETE=source_bash streamtag)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
eval "$(complete -p streamtag | sed 's/.*-F \\([^ ]*\\) .*/\\1/') streamtag"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The program is called `streamtag`, as when it is installed."""
    program = tmp_path / "streamtag"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m streamtag.cli "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.skipif(BASH is None or sys.platform == "win32", reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fi", ["file"]),
        ("listen --format ", ["s16le", "f32le"]),
        ("file so", [""]),  # none of ours: bash completes names of files
    ],
)
def test_bash(environment: dict[str, str], words: str, expected: list[str]) -> None:
    command = [str(BASH), "--norc", "-c", SCRIPT, "bash", "streamtag", *words.split(" ")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (expected, "")


@pytest.mark.skipif(sys.platform == "win32", reason="starts a shell script")
@pytest.mark.parametrize(("shell", "line"), [("zsh", "#compdef streamtag"), ("fish", "complete --command streamtag")])
def test_zsh_and_fish(environment: dict[str, str], shell: str, line: str) -> None:
    def ask(instruction: str, words: str) -> str:
        question = {"_STREAMTAG_COMPLETE": f"{instruction}_{shell}", "_TYPER_COMPLETE_ARGS": words}
        question["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
        command = [shutil.which("streamtag", path=environment["PATH"]) or ""]
        return subprocess.run(
            command, env=environment | question, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    assert ask("source", "").lstrip().startswith(line)
    assert "--tags" in ask("complete", "streamtag file --ta")
