"""Help, version, and the model card."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamtag as package

Run = Callable[..., Any]


def test_help_names_every_command_and_option(streamtag: Run) -> None:
    overview = streamtag("--help", small=False)
    assert overview.code == 0
    for command in ("file", "model", "bench"):
        assert f"\n  {command} " in overview.out
    details = streamtag("file", "--help", small=False)
    for option in (
        "json",
        "csv",
        "labels",
        "plot",
        "top",
        "tags",
        "threshold",
        "realtime",
        "model",
        "device",
    ):
        assert f"\n  --{option} " in details.out
    assert "Examples:" in details.out
    assert details.err == ""


def test_help_loads_nothing_slow_and_answers_at_once() -> None:
    slow = ("torch", "matplotlib", "av", "rich", "kymatio", "scipy", "numpy", "soxr")
    code = (
        "import sys; from streamtag.cli import main; code = main(['--help']);"
        f"loaded = [name for name in {slow!r} if name in sys.modules];"
        "sys.exit(f'loaded: {loaded}' if loaded else code)"
    )
    took = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        took.append(time.perf_counter() - began)
        assert (done.returncode, done.stderr) == (0, "")
    assert min(took) < 0.3


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
