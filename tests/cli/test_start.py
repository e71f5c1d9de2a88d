"""A command starts quickly: it imports nothing that it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ENVIRONMENT, MakeSound

SCRIPT = """
import gc, json, sys
from streamtag.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, gc.isenabled(), gc.get_freeze_count(), sorted(sys.modules)]))
"""
UNUSED = {"pydantic", "scipy", "kymatio", "matplotlib", "pyarrow", "prometheus_client", "websockets", "mutagen"}
UNUSED |= {"rich.live", "streamtag.sinks.csv", "streamtag.sinks.plot", "streamtag.terminal.file_view"}
MIN_FROZEN = 10_000  # objects; torch has ten times as many


@pytest.mark.slow
@pytest.mark.parametrize(("options", "used"), [((), set()), (("--csv", "F"), {"streamtag.sinks.csv"})])
def test_file_imports_only_what_it_uses(
    options: tuple[str, ...], used: set[str], make_sound: MakeSound, model: Path, tmp_path: Path
) -> None:
    arguments = ["file", str(make_sound(seconds=1.0)), "--model", str(model), "--summary", *options]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    code, has_collector, frozen, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert UNUSED & set(modules) == used
    assert has_collector
    assert frozen > MIN_FROZEN, "later collections go through torch's objects"
