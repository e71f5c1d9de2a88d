"""Help, version, and the model card."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import streamtag as package
from tests.cli.conftest import Run


def test_help_names_every_command_and_every_command_has_help(streamtag: Run) -> None:
    overview = streamtag("--help", small=False)
    assert overview.code == 0
    for command in ("file", "listen", "serve", "watch", "replay", "catalog", "model", "bench", "devices"):
        assert f"\n  {command} " in overview.out
        details = streamtag(command, "--help", small=False)
        assert (details.code, details.err) == (0, "")
        assert details.out.startswith(f"Usage: streamtag {command} [OPTIONS]")
        assert "Examples:" in details.out
    listen = streamtag("listen", "--help", small=False).out
    for option in ("--from", "--for", "--save-audio", "--threshold", "--serve", "--tls-key"):
        assert f"\n  {option} " in listen


@pytest.mark.parametrize(
    "command", ["", "file", "listen", "serve", "watch", "replay", "catalog", "model", "bench", "devices"]
)
def test_help_loads_nothing_slow(command: str) -> None:
    slow = ("torch", "matplotlib", "av", "rich", "kymatio", "scipy", "numpy", "soxr")
    code = (
        f"import sys; from streamtag.cli import main; code = main({[*command.split(), '--help']!r});"
        f"loaded = [name for name in {slow!r} if name in sys.modules];"
        "sys.exit(f'loaded: {loaded}' if loaded else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_version(streamtag: Run) -> None:
    answer = streamtag("--version", small=False)
    assert (answer.code, answer.out) == (0, f"streamtag {package.__version__}\n")


def test_the_model_card(streamtag: Run, model: Path) -> None:
    answer = streamtag("model", "--model", model, small=False)
    assert answer.code == 0
    assert answer.lines[:2] == ["small", str(model)]
    assert any(line.split() == ["guitar", "0.50"] for line in answer.lines)
    card = json.loads(streamtag("model", "--json", "--model", model, small=False).out)
    assert card["card"]["licence"] == "none"
    assert len(card["tags"]) == len(card["thresholds"]) == 50
