"""What tells one model from another in a table: the beginning of its file's SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from streamtag.errors import ModelFileError

DIGITS = 16


def fingerprint(model: Path) -> str:
    """Hexadecimal digits. Raises ModelFileError if the file cannot be read."""
    try:
        with model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    except OSError as error:
        raise ModelFileError(f"{model}: {(error.strerror or str(error)).lower()}") from None
