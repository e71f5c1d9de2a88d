"""The small model on the CPU, and the one thread that live commands compute on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtag.app import Tagger, load
from streamtag.commands.measure import one_thread


@pytest.fixture
def one() -> Iterator[None]:
    """As `listen` and its bench have it: two threads that wait for each other fall behind on a busy machine."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def tagger(model: Path) -> Tagger:
    return load(model, "cpu")
