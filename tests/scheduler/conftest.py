"""Schedulers without threads, with a clock that a test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scheduler.harness import Harness, exported_state


@pytest.fixture
def harness(model: Path) -> Harness:
    """Its frames show which audio they were made of."""
    return Harness(model)


@pytest.fixture
def echo_state(model: Path) -> bytes:
    """The exported state of such a stream."""
    return exported_state(model, echo=True)
