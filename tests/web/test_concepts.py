"""Concepts on the page, and the tags behind the toggle."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from streamtag.protocol.messages import Concept, Event
from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, TAGS, Start, make_frame, present, reload
from tests.web.test_bars import names, row

CONCEPTS = (
    Concept("strings", "instrument", ("guitar", "harp"), 0.4),
    Concept("drums", "instrument", ("drums",), 0.5),
    Concept("odd", "mood", ("other a", "other b"), None),
)


def publish(server: ServerThread, number: int, guitar: float, strings: float, odd: float = 0.9) -> None:
    concepts = {"strings": strings, "drums": 0.1, "odd": odd}
    server.publish(replace(make_frame(number, guitar=guitar), concepts=concepts))


@pytest.fixture
def server(start: Start) -> ServerThread:
    return start(hello=replace(HELLO, concepts=CONCEPTS))


def test_concepts_are_shown_and_their_events_say_what_is_present(page: Page, server: ServerThread) -> None:
    publish(server, 0, guitar=0.2, strings=0.3)
    expect(page.locator("#frames")).to_have_text("1")
    assert names(page) == ["strings", "drums", "odd"]  # by category
    expect(page.locator("#rows .group")).to_have_text(["instruments", "mood and tempo"])
    expect(page.locator("#present")).to_have_text("nothing certain")  # without a threshold it never is
    expect(row(page, "odd").locator(".mark")).to_be_hidden()
    publish(server, 1, guitar=0.2, strings=0.8)
    server.publish(Event("mic", "strings", "on", 0.256, "strings"))
    expect(present(page)).to_have_text("strings")
    expect(page.locator("#present .category")).to_have_text(["instruments", "mood and tempo"])
    expect(row(page, "strings")).to_have_class(re.compile(r"\bon\b"))
    expect(row(page, "strings").locator(".value")).to_have_text("0.80")


def test_a_button_shows_all_tags_and_is_remembered(page: Page, server: ServerThread) -> None:
    publish(server, 0, guitar=0.8, strings=0.9)
    button = page.get_by_role("button", name=f"All {len(TAGS)} tags")
    expect(button).to_have_attribute("aria-pressed", "false")
    server.publish(Event("mic", "strings", "on", 0.0, "strings"))
    expect(present(page)).to_have_text("strings")
    button.click()
    expect(present(page)).to_have_text("guitar")  # which follows from its values
    assert set(names(page)) <= set(TAGS)
    expect(page.locator("#label-kind")).to_have_text("tag")
    server.publish(Event("mic", "strings", "off", 0.0, "strings"))
    publish(server, 1, guitar=0.02, strings=0.1)
    publish(server, 8, guitar=0.02, strings=0.1)
    expect(page.locator("#present")).to_have_text("nothing certain")
    reload(page)
    expect(button).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("a")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#label-kind")).to_have_text("concept")
    assert set(names(page)) == {concept.name for concept in CONCEPTS}
