"""What starts quickly: Python and each command import nothing that they do not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ENVIRONMENT, MakeSound
from tests.cli.test_cli import COMMANDS

HEAVY = {"torch", "av", "soxr", "numpy", "scipy", "kymatio", "matplotlib", "rich"}
PRINT_MODULES = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
HELP = f"""
from streamtag.cli import main
assert max(main([*command.split(), "--help"]) for command in {("", *COMMANDS)!r}) == 0
"""
FILE = """
import gc, json, sys
from streamtag.cli import main
assert main(sys.argv[1:]) == 0
assert gc.isenabled()
assert gc.get_freeze_count() > 10_000, "later collections go through torch's objects"
"""
UNUSED = {"pydantic", "scipy", "kymatio", "matplotlib", "pyarrow", "prometheus_client", "websockets", "mutagen"}
UNUSED |= {"rich.live", "streamtag.sinks.csv", "streamtag.sinks.plot", "streamtag.terminal.file_view"}


def modules_after(code: str, *arguments: str, cwd: Path | None = None) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code + PRINT_MODULES, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=cwd,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "unused"),
    [
        ("import streamtag; streamtag.__version__", HEAVY),
        (HELP, HEAVY),
        ("import streamtag.cli.watch_view, streamtag.client.subscriber, streamtag.cli.player", {"torch", "av"}),
    ],
    ids=["package", "help", "watch and replay"],
)
def test_torch_waits_until_it_is_needed(code: str, unused: set[str]) -> None:
    modules = modules_after(code)
    assert "streamtag" in modules
    assert not unused & modules


def test_tagging_in_python_loads_no_filters_plots_or_commands(make_sound: MakeSound, model: Path) -> None:
    code = "import sys, streamtag; streamtag.load(sys.argv[1], 'cpu').tag(sys.argv[2])"
    modules = modules_after(code, str(model), str(make_sound(seconds=1.0)))
    assert "torch" in modules
    assert not {"matplotlib", "scipy", "kymatio", "rich", "typer", "trainer"} & modules


@pytest.mark.slow
@pytest.mark.parametrize(("options", "used"), [((), set()), (("--csv", "F"), {"streamtag.sinks.csv"})])
def test_file_imports_only_what_it_uses(
    options: tuple[str, ...], used: set[str], make_sound: MakeSound, model: Path, tmp_path: Path
) -> None:
    arguments = ["file", str(make_sound(seconds=1.0)), "--model", str(model), "--summary", *options]
    modules = modules_after(FILE, *arguments, cwd=tmp_path)
    assert "torch" in modules
    assert UNUSED & modules == used
