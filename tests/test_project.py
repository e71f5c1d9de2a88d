"""What the repository holds, what an installation needs, and what a start loads."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = ("pyproject.toml", "streamtag", "trainer", "tests", "examples")
BESIDE = ("README.md", "LICENSE", "CHANGELOG.md", ".ci", ".gitignore")
EXTRAS = {
    "trainer": "train",
    "streamtag/catalog/actor": "ray",
    "streamtag/catalog/cluster": "ray",
    "streamtag/cli/bench": "bench",
    "streamtag/sinks/mqtt": "mqtt",
    "streamtag/sinks/osc": "osc",
    "streamtag/audio/loopback": "system",
    "streamtag/sinks/genre_tags": "tags",
}  # paths, and what those who use them install
DISTRIBUTIONS = {
    "markdown_it": "markdown-it-py",
    "prometheus_client": "prometheus-client",
    "pythonosc": "python-osc",
    "sklearn": "scikit-learn",
    "triton": "torch",  # which brings it where it was built for GPUs
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    read: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return read


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


@cache
def _imported(path: Path) -> set[str]:
    """The top-level packages that a file names in its imports, Python's own and ours left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - {"streamtag", "trainer"} - sys.stdlib_module_names


def _undeclared(project: dict[str, Any]) -> set[str]:
    """ "file: package" for all that an installation of the part which imports it would not bring."""
    missing = set()
    for path in [*(ROOT / "streamtag").rglob("*.py"), *(ROOT / "trainer").rglob("*.py")]:
        place = path.relative_to(ROOT).as_posix()
        wanted = list(project["dependencies"])
        for start, extra in EXTRAS.items():
            wanted += project["optional-dependencies"][extra] if place.startswith(start) else []
        needed = {DISTRIBUTIONS.get(name, name) for name in _imported(path)}
        missing |= {f"{place}: {name}" for name in needed - _names(wanted)}
    return missing


def test_every_package_that_is_imported_is_declared(project: dict[str, Any]) -> None:
    assert _undeclared(project) == set()


def test_one_that_is_not_is_noticed(project: dict[str, Any]) -> None:
    fewer = [requirement for requirement in project["dependencies"] if not requirement.startswith("soxr")]
    missing = _undeclared({**project, "dependencies": fewer})
    assert "streamtag/audio/resample.py: soxr" in missing
    assert all(line.endswith(": soxr") for line in missing)


def test_developers_get_every_extra(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    others = (requirement for name in extras if name != "dev" for requirement in extras[name])
    assert _names([*others]) <= _names(extras["dev"])


def test_the_top_level_stays_small() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {name.split("/")[0] for name in listed.split("\0") if name}
    assert set(TOP_LEVEL) <= found <= {*TOP_LEVEL, *BESIDE}
