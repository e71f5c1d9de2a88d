"""The small model on the CPU, and the one thread that live commands compute on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtag.app import Tagger, load
from streamtag.commands.measure import one_thread
from tests.commands.serve_process import Start, started


@pytest.fixture
def one() -> Iterator[None]:
    """As `listen` and its bench have it: two threads that wait for each other fall behind on a busy machine."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def tagger(model: Path) -> Tagger:
    return load(model, "cpu")


@pytest.fixture
def start(model: Path) -> Iterator[Start]:
    """start(*options) -> a `streamtag serve` with the small model, stopped when the test ends."""
    with started(model) as start:
        yield start


@pytest.fixture(scope="module")
def standing(model: Path) -> Iterator[Start]:
    """The same, stopped after the file's last test: for servers that tests share, each with names of its own."""
    with started(model) as start:
        yield start
