"""Files are written completely or not at all, and settings are compared by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtag.errors import ManifestError, OutputError
from trainer.files import first_difference, read_json, replacing, report_write_errors, write_atomically, write_json


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail() -> None:
        with report_write_errors(path, ": try again"), replacing(path) as part:
            part.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"file: cannot be written: no space left on device: try again"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_read_back_and_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new" / "settings.json"
    write_json(path, {"rate": 0.5})
    assert read_json(path, ManifestError) == {"rate": 0.5}
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(ManifestError, match=r"settings\.json: "):
            read_json(path, ManifestError)


def test_the_first_difference_is_named() -> None:
    old = {"rate": 0.5, "spec": {"J": 9, "Q": 8}}
    assert first_difference(old, old) is None
    assert first_difference(old, {"rate": 0.5, "spec": {"J": 10, "Q": 8}}) == "spec.J = 9, not 10"
    assert first_difference({**old, "later": 1}, old) == "later = 1, not None"
