"""The linter, the formatter and the type checker are content with the repository."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
Need = Callable[[str, bool, str], None]


def _run(*command: str, where: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=where, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), pytest.param(("mypy",), marks=pytest.mark.slow)],
    ids=["lint", "format", "types"],
)
def test_the_repository_passes(need: Need, command: tuple[str, ...]) -> None:
    need("checks", find_spec(command[0]) is not None, f"needs {command[0]}")
    done = _run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "source"),
    [
        (("ruff", "check", "--no-cache", "."), "import os\n"),
        (("ruff", "format", "--no-cache", "--check", "."), "x = {  'a':1}\n"),
        pytest.param(("mypy", "--no-incremental", "bad.py"), "def f(x): return x\n", marks=pytest.mark.slow),
    ],
    ids=["lint", "format", "types"],
)
def test_what_is_wrong_is_found(need: Need, command: tuple[str, ...], source: str, tmp_path: Path) -> None:
    """The negative control, with the repository's own settings."""
    need("checks", find_spec(command[0]) is not None, f"needs {command[0]}")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "bad.py").write_text(source, encoding="utf-8")
    done = _run(*command, where=tmp_path)
    assert done.returncode == 1
    assert "bad.py" in done.stdout


def test_need_goes_on_skips_or_fails(need: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMTAG_REQUIRE", "audio, checks")
    need("checks", True, "needs nothing")
    need("browser", True, "needs nothing")
    with pytest.raises(pytest.skip.Exception, match="needs a browser"):
        need("browser", False, "needs a browser")
    with pytest.raises(pytest.fail.Exception, match="names checks, but this needs a linter"):
        need("checks", False, "needs a linter")
    monkeypatch.delenv("STREAMTAG_REQUIRE")
    with pytest.raises(pytest.skip.Exception, match="needs a linter"):
        need("checks", False, "needs a linter")
