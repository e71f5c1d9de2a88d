"""All streams at once: their cards, and the ways to one stream and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import Locator, Page, expect

from streamtag.protocol.messages import Concept, End, Event
from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, Open, Start, make_frame, value_of

CONCEPTS = (
    Concept("calm", "mood", ("other a",), 0.5),
    Concept("guitar", "instrument", ("guitar",), 0.5),
    Concept("drums", "instrument", ("drums",), 0.5),
)


@pytest.fixture
def server(start: Start) -> ServerThread:
    return start(hello=replace(HELLO, concepts=CONCEPTS))


def publish(server: ServerThread, names: list[str], number: int = 0, **concepts: float) -> None:
    values = {concept.name: concepts.get(concept.name, 0.1) for concept in CONCEPTS}
    for name in names:
        server.publish(replace(make_frame(number, name), concepts=values))


def card(page: Page, name: str) -> Locator:
    return page.locator(f"#cards > li[data-stream='{name}']")


def test_several_streams_are_shown_as_cards(page: Page, server: ServerThread) -> None:
    publish(server, ["hall 10"])
    expect(page).to_have_title("hall 10 · streamtag")
    publish(server, ["hall 9", "bar"], guitar=0.8, drums=0.6)
    expect(page).to_have_title("3 streams · streamtag")
    expect(page.locator("#board")).to_be_hidden()
    assert page.locator(".card-name").all_inner_texts() == ["bar", "hall 9", "hall 10"]
    for name in ("calm", "drums", "guitar"):
        server.publish(Event("bar", name, "on", 0.0, name))
    expect(card(page, "bar").locator(".card-words")).to_have_text("guitar, drums; calm")
    expect(card(page, "hall 9").locator(".card-words")).to_have_text("nothing certain")  # no event
    server.publish(End("hall 10", 72.6, 284, {}, present_s={"drums": 50.0}))
    expect(card(page, "hall 10").locator(".card-state")).to_have_text("ended 1:13")
    expect(card(page, "hall 10").locator(".card-words")).to_have_text("drums")


def test_one_click_to_a_stream_and_back(page: Page, server: ServerThread) -> None:
    publish(server, ["bar", "hall", "roof"], guitar=0.8)
    card(page, "hall").get_by_role("button").click()
    expect(page).to_have_title("hall · streamtag")
    expect(value_of(page, "guitar")).to_have_text("0.80")
    assert page.url.endswith("?stream=hall")
    page.locator("#all-streams").click()
    expect(page.locator("#overview")).to_be_visible()
    expect(page.locator("#board")).to_be_hidden()
    card(page, "roof").get_by_role("button").click()
    expect(page).to_have_title("roof · streamtag")
    page.go_back()
    expect(page).to_have_title("3 streams · streamtag")
    page.go_forward()
    expect(page).to_have_title("roof · streamtag")
    page.locator("#stream").select_option("All 3 streams")
    expect(page).to_have_title("3 streams · streamtag")
    page.reload()
    expect(page).to_have_title("3 streams · streamtag")


def test_the_cards_work_by_keyboard(page: Page, server: ServerThread) -> None:
    names = [f"room {number}" for number in range(1, 10)]
    publish(server, names)
    expect(page.locator(".card")).to_have_count(9)
    assert page.locator(".card[tabindex='0']").count() == 1  # one stop for Tab
    page.locator("#save-lines").focus()
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    expect(focused).to_have_attribute("data-stream", "room 1")
    tops = page.locator(".card").evaluate_all("cards => cards.map(card => card.getBoundingClientRect().top)")
    columns = tops.count(tops[0])
    for key, name in (
        ("ArrowRight", "room 2"),
        ("ArrowDown", f"room {2 + columns}"),
        ("ArrowUp", "room 2"),
        ("End", "room 9"),
        ("ArrowRight", "room 9"),
        ("Home", "room 1"),
        ("ArrowLeft", "room 1"),
        ("ArrowRight", "room 2"),
    ):
        page.keyboard.press(key)
        expect(focused).to_have_attribute("data-stream", name)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page).to_have_title("room 2 · streamtag")
    page.keyboard.press("Escape")
    expect(page).to_have_title("9 streams · streamtag")
    expect(focused).to_have_attribute("data-stream", "room 2")
    page.keyboard.press("Space")
    expect(page).to_have_title("room 2 · streamtag")
    page.keyboard.press("g")
    expect(page).to_have_title("9 streams · streamtag")


def test_the_filter_finds_streams(page: Page, server: ServerThread) -> None:
    publish(server, ["bar", "hall 1", "hall 2"])
    expect(page.locator(".card")).to_have_count(3)
    page.locator("#filter").fill("HALL")
    expect(page.locator(".card-name")).to_have_text(["hall 1", "hall 2"])
    page.locator("#filter").fill("cellar")
    expect(page.locator("#cards")).to_have_text("No stream has “cellar” in its name.")
    page.keyboard.press("Escape")
    expect(page.locator(".card")).to_have_count(3)
    card(page, "bar").get_by_role("button").click()
    expect(page.locator("#filter")).to_have_value("")
    expect(page.locator("#rows .tag")).to_have_count(3)


COUNT_DRAWINGS = """
  window.drawings = 0;
  const put = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (...a) { window.drawings++; return put.apply(this, a) }"""


@pytest.mark.slow
def test_only_what_can_be_seen_is_drawn(server: ServerThread, open_page: Open) -> None:
    opened = open_page(
        server.address,
        lambda page: page.add_init_script(COUNT_DRAWINGS),
        viewport={"width": 1280, "height": 860},
    )
    page = opened.page
    names = [f"room {number}" for number in range(256)]
    publish(server, names, 0)
    publish(server, names, 1)
    expect(page).to_have_title("256 streams · streamtag")
    expect(page.locator(".card")).to_have_count(256)
    expect(page.locator(".card-words").last).to_have_text("nothing certain")  # for screen readers
    page.evaluate("window.drawings = 0")
    page.wait_for_timeout(1000)
    assert 0 < page.evaluate("window.drawings") <= 6 * 24  # of those on the screen, four times a second
    assert page.locator(".card canvas[width='120']").count() <= 24
    page.locator(".card").last.scroll_into_view_if_needed()
    expect(page.locator(".card canvas").last).to_have_attribute("width", "120")
    publish(server, names, 2)
    card(page, names[-1]).get_by_role("button").click()
    expect(page.locator("#frames")).to_have_text("3")
