"""What tells one model from another in a table: the beginning of the fingerprint that streams carry, too."""

from __future__ import annotations

from pathlib import Path

from streamtag.errors import ModelFileError
from streamtag.scheduler import stream_state
from streamtag.text import describe_os_error

DIGITS = 16


def fingerprint(model: Path) -> str:
    """Hexadecimal digits. Raises ModelFileError if the file cannot be read."""
    try:
        return stream_state.fingerprint(model)[:DIGITS]
    except OSError as error:
        raise ModelFileError(f"{model}: {describe_os_error(error)}") from None
