"""The page of one's own in examples/, opened from a file, beside a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from streamtag.protocol.messages import Event
from streamtag.server.thread import ServerThread
from tests.web.conftest import Start, make_frame

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "browser.html"


@pytest.fixture
def example(browser: Browser) -> Callable[[ServerThread], Page]:
    """The example as it shows a server's tags."""

    def example(server: ServerThread) -> Page:
        page = browser.new_page()
        page.goto(f"{EXAMPLE.as_uri()}?server={server.address.replace('http', 'ws')}")
        return page

    return example


def test_it_shows_the_strongest_tag_of_each_frame(start: Start, example: Callable[[ServerThread], Page]) -> None:
    server = start(origins=("null",))
    server.publish(make_frame(0, guitar=0.9, drums=0.5))
    page = example(server)
    expect(page.locator("#tag")).to_have_text("guitar")
    expect(page.locator("#note")).to_have_text("90 % mic")
    server.publish(Event("mic", "harp", "on", 0.3))
    server.publish(make_frame(1, male_vocal=0.75))
    expect(page.locator("#tag")).to_have_text("male vocal")
    expect(page.locator("#tag")).to_have_css("opacity", "0.8")
    page.close()


def test_it_reconnects_when_the_server_returns(start: Start, example: Callable[[ServerThread], Page]) -> None:
    first = start(origins=("null",))
    page = example(first)
    first.publish(make_frame(0, guitar=0.9))
    expect(page.locator("#tag")).to_have_text("guitar")
    first.__exit__(None, None, None)
    expect(page.locator("#note")).to_contain_text("no answer from ws://127.0.0.1:")
    second = start(port=int(first.address.rstrip("/").rpartition(":")[2]), origins=("null",))
    second.publish(make_frame(0, harp=0.5))
    expect(page.locator("#tag")).to_have_text("harp")
    page.close()
