"""Golden renderings: text files beside the tests that hold what a view shows.

    python -m tests.renderings            rewrites all of them; then look at the difference
    python -m tests.renderings FOLDER     also writes pictures of the web page there, to be looked at

Tests in files called test_renderings.py compare with them.
"""

from __future__ import annotations

import os
import sys
from difflib import unified_diff
from pathlib import Path

import pytest

WRITE, PICTURES = "STREAMTAG_WRITE_RENDERINGS", "STREAMTAG_PICTURES"
TESTS = Path(__file__).resolve().parent


def check_rendering(path: Path, text: str) -> None:
    """Compare a text with the golden file, or write it there if renderings are being rewritten."""
    text = text.rstrip() + "\n"
    if is_rewriting():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path.name} is missing: python -m tests.renderings writes it"
    kept = path.read_text(encoding="utf-8")
    changes = unified_diff(kept.splitlines(), text.splitlines(), path.name, "now", lineterm="", n=1)
    assert text == kept, "\n".join(("another rendering:", *changes))


def is_rewriting() -> bool:
    return bool(os.environ.get(WRITE))


def picture_folder() -> Path | None:
    """Return where pictures are wanted."""
    folder = os.environ.get(PICTURES)
    return Path(folder) if folder else None


def main(folder: str | None = None) -> int:
    os.environ[WRITE] = "1"
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        os.environ[PICTURES] = str(Path(folder).resolve())
    files = sorted(str(path) for path in TESTS.rglob("test_renderings.py"))
    return int(pytest.main(["-q", "-n", "0", "-m", "slow or not slow", *files]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
