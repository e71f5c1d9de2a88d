"""What tests need of the machine: where it is missing they are skipped, or fail if they must not be.

STREAMTAG_REQUIRE names, separated by commas, what must be there, so that no check is skipped unseen where all
of them are meant to run: STREAMTAG_REQUIRE=checks,fluidsynth pytest
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

# A shell's background job starts with SIGINT ignored, and so would every process that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)

Need = Callable[[str, bool, str], None]


@pytest.fixture(scope="session")
def need() -> Need:
    """need(name, ok, reason): goes on if ok; skips with the reason if not, or fails if `name` is required."""

    def need(name: str, ok: bool, reason: str) -> None:
        if ok:
            return
        if name in (required.strip() for required in os.environ.get("STREAMTAG_REQUIRE", "").split(",")):
            pytest.fail(f"STREAMTAG_REQUIRE names {name}, but this {reason}")
        pytest.skip(reason)

    return need
