"""Bars of the present tags: order, pins, filter, announcements."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from playwright.sync_api import Locator, Page, expect

from streamtag.protocol.messages import End, Event, Hello
from streamtag.server.thread import ServerThread
from tests.web.conftest import TAGS, Open, Start, make_frame, play, present, reload, settle

SHOWN = 15  # rows, where the reader has not chosen
HOSTILE = "<img src=x onerror=document.title='hurt'>"


def row(page: Page, tag: str) -> Locator:
    return page.locator("#rows > li", has=page.get_by_role("meter", name=tag, exact=True))


def value(page: Page, tag: str) -> float:
    return float(row(page, tag).get_by_role("meter").get_attribute("aria-valuenow") or math.nan)


def names(page: Page) -> list[str]:
    return page.locator("#rows .tag").all_inner_texts()


def width(page: Page, tag: str) -> float:
    """The visible share of a bar's fill."""
    found = row(page, tag).evaluate(
        """row => { const fill = row.querySelector(".fill").getBoundingClientRect();
                    const track = row.querySelector(".track").getBoundingClientRect();
                    return (fill.right - track.left) / track.width }"""
    )
    assert isinstance(found, float | int)
    return found


def test_bars_follow_the_frames_of_their_tag_and_mark_its_threshold(page: Page, server: ServerThread) -> None:
    server.publish(make_frame(0, guitar=0.9))
    expect(row(page, "guitar").locator(".value")).to_have_text("0.90")
    expect(row(page, "drums").locator(".value")).to_have_text("0.02")
    settle(page)
    assert width(page, "guitar") == pytest.approx(0.9, abs=0.01)
    assert width(page, "drums") == pytest.approx(0.02, abs=0.01)
    server.publish(make_frame(1, guitar=0.3, drums=0.7))
    expect(row(page, "guitar").locator(".value")).to_have_text("0.30")
    assert (value(page, "guitar"), value(page, "drums"), value(page, "piano")) == (0.3, 0.7, 0.02)
    middle = "mark => (mark.offsetLeft + mark.offsetWidth / 2) / mark.parentElement.getBoundingClientRect().width"
    for tag, threshold in (("harp", 0.1), ("guitar", 0.5)):
        assert row(page, tag).locator(".mark").evaluate(middle) == pytest.approx(threshold, abs=0.01)


def test_the_strongest_tags_are_first_and_stable(page: Page, server: ServerThread) -> None:
    page.clock.install()
    play(server, page, 0, 1, other_o=0.9, other_n=0.8, drums=0.7)
    page.clock.run_for(2000)
    play(server, page, 1, 1, other_o=0.9, other_n=0.8, drums=0.7)
    assert len(names(page)) == SHOWN
    assert names(page)[:3] == ["other o", "other n", "drums"]
    page.clock.run_for(2000)
    play(server, page, 2, 1, other_o=0.88, other_n=0.91, drums=0.7)  # hardly stronger
    assert names(page)[:3] == ["other o", "other n", "drums"]
    play(server, page, 3, 27, other_o=0.1, other_n=0.91, drums=0.7)
    page.clock.run_for(2000)
    play(server, page, 30, 1, other_o=0.1, other_n=0.91, drums=0.7)
    assert names(page)[:3] == ["other n", "drums", "other o"]


def test_pinned_tags_stay_first_and_are_remembered(page: Page, server: ServerThread) -> None:
    server.publish(make_frame(0, drums=0.9))
    expect(page.locator("#frames")).to_have_text("1")
    pin = page.get_by_role("button", name="piano")
    pin.click()
    expect(pin).to_have_attribute("aria-pressed", "true")
    assert names(page)[:2] == ["piano", "drums"]
    reload(page)
    expect(page.locator("#frames")).to_have_text("1")
    assert names(page)[:2] == ["piano", "drums"]
    pin.click()
    expect(pin).to_have_attribute("aria-pressed", "false")
    assert names(page)[0] == "drums"


def test_the_filter_keeps_matching_tags_and_pins_or_says_that_there_are_none(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 1)
    for words, left in (
        ("VOCAL", ["male vocal"]),
        ("arp, gui", ["guitar", "harp"]),
        ("other", [tag for tag in TAGS if tag.startswith("other")]),
    ):
        page.locator("#filter").fill(words)
        expect(page.locator("#rows .tag")).to_have_text(left)
        page.keyboard.press("Escape")
        expect(page.locator("#rows > li")).to_have_count(SHOWN)
    page.locator("#filter").fill("zither")
    expect(page.locator("#rows")).to_have_text("No tag has “zither” in its name.")
    page.locator("#filter").fill(" , ")
    expect(page.locator("#rows > li")).to_have_count(SHOWN)
    page.get_by_role("button", name="harp").click()
    page.locator("#filter").fill("zither")
    expect(page.locator("#rows .tag")).to_have_text(["harp"])


def test_the_end_shows_the_means(page: Page, server: ServerThread) -> None:
    server.publish(make_frame(0, guitar=0.9))
    means = {tag: {"drums": 0.61, "piano": 0.7}.get(tag, 0.04) for tag in TAGS}
    server.publish(End("mic", 75.2, 294, means, present_s={"drums": 18.9, "guitar": 18.7}))
    expect(page.locator("#state")).to_have_text("ended")
    expect(row(page, "drums").locator(".value")).to_have_text("0.61")
    expect(page.locator("#now")).to_have_text("mean")
    expect(present(page)).to_have_text("drums")  # for a quarter of it, and not by its mean
    expect(page.locator("#present-title")).to_have_text("Present in the whole stream")
    expect(page.locator("#clock")).to_have_text("1:15")


def test_hostile_names_are_text(start: Start, open_page: Open) -> None:
    tags = (HOSTILE, "__proto__", "constructor", "a\u202eb", '"><script>', "guitar")
    hello = Hello("<b>streamtag</b>", HOSTILE, tags, 16000, 0.256, 0.512, 0.384, (0.5,) * len(tags))
    server = start(hello=hello)
    page = open_page(server.address).page
    server.publish(replace(make_frame(0, HOSTILE), tags={"__proto__": 0.8, "guitar": 0.7, HOSTILE: 0.6}))
    server.publish(Event(HOSTILE, HOSTILE, "on", 0.0))
    expect(page.locator("#frames")).to_have_text("1")
    expect(page.locator("#model")).to_have_text(HOSTILE)
    expect(page.locator("#stream option").nth(1)).to_have_text(HOSTILE)
    assert sorted(names(page)) == sorted(tags)
    assert (value(page, "__proto__"), value(page, "guitar"), value(page, HOSTILE)) == (0.8, 0.7, 0.6)
    expect(row(page, "constructor").locator(".value")).to_have_text("–")
    assert page.title() == f"{HOSTILE} · streamtag"  # as text: nobody else has set it
    assert page.locator("img, script:not([src]), b").count() == 0


def test_a_tag_that_frames_leave_out_is_unknown_not_zero(page: Page, server: ServerThread) -> None:
    server.publish(replace(make_frame(0), tags={"guitar": 0.9, "no such tag": 0.8}))
    expect(row(page, "guitar").locator(".value")).to_have_text("0.90")
    expect(row(page, "drums").locator(".value")).to_have_text("–")
    assert "no such tag" not in names(page)


def test_changes_are_announced_together(page: Page, server: ServerThread) -> None:
    page.clock.install()
    server.publish(make_frame(0))
    server.publish(make_frame(1))
    for tag in ("guitar", "drums"):
        server.publish(Event("mic", tag, "on", 0.256))
    expect(present(page)).to_have_count(2)
    expect(page.locator("#announcer")).to_have_text("")
    page.clock.run_for(5500)
    expect(page.locator("#announcer")).to_have_text("on: guitar, drums")


def test_reduced_motion_is_respected(page: Page) -> None:
    for is_reduced in (True, False):
        page.emulate_media(reduced_motion="reduce" if is_reduced else "no-preference")
        duration = page.locator(".fill").first.evaluate("fill => parseFloat(getComputedStyle(fill).transitionDuration)")
        assert bool(duration) is not is_reduced
