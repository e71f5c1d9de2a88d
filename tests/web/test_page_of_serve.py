"""The page of a real `streamtag serve`: what a browser sends is tagged as the commands tag it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from streamtag.api import Tagger
from tests.cli.serve_process import started
from tests.wav import write_wav
from tests.web.conftest import Open, words
from tests.web.sound import make_sound

pytestmark = pytest.mark.slow

RATE = 44100
SECONDS = 12
Tags = NDArray[np.floating]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("played") / "evening ride.wav", make_sound(5, SECONDS, RATE), RATE)


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    """The page's address of a server with the small model."""
    with started(model) as start:
        yield start().address.replace("ws", "http", 1)


def saved(page: Page, path: Path) -> list[dict[str, object]]:
    """The messages that the page keeps."""
    with page.expect_download() as download:
        page.locator("#save-lines").click()
    download.value.save_as(path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def frames(lines: list[dict[str, object]], stream: str) -> Tags:
    """-> [F, P], of a stream."""
    told = [line["tags"] for line in lines if line["type"] == "frame" and line["stream"] == stream]
    return np.array([list(tags.values()) for tags in told if isinstance(tags, dict)])


def agreement(one: Tags, other: Tags) -> float:
    """Correlation of two runs of frames about each tag's mean."""
    one, other = one - one.mean(0), other - other.mean(0)
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def test_a_file_is_tagged_like_streamtag_file(
    address: str, open_page: Open, played: Path, tagger: Tagger, tmp_path: Path
) -> None:
    page = open_page(address).page
    page.locator("#files").set_input_files(played)
    expect(words(page)).to_contain_text("tagged in", timeout=60_000)
    lines = saved(page, tmp_path / "session.jsonl")
    received = frames(lines, "evening ride.wav")
    alone = tagger.tag(played)
    assert received.shape == alone.probs.shape
    assert agreement(received, alone.probs) > 0.99
    assert np.abs(received - alone.probs).max() < 0.02
    other = tagger.tag(write_wav(tmp_path / "other.wav", make_sound(6, SECONDS, RATE), RATE))
    assert agreement(received, other.probs) < 0.9
    (end,) = [line for line in lines if line["type"] == "end"]
    assert end["seconds"] == pytest.approx(SECONDS, abs=0.05)
    best = sorted(alone.summary.items(), key=lambda item: -item[1])[0]
    expect(words(page)).to_contain_text(best[0])
    assert [line for line in lines if line["type"] in ("gap", "error")] == []
