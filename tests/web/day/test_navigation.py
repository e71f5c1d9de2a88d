"""The Day view: the ways to a moment, an hour and another day."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from streamtag.server.thread import ServerThread
from tests.web.conftest import Open, make_frame
from tests.web.day.conftest import HALL, OpenDay, click_at, local, rows, shown
from tests.web.stored import HOUR_S, NOW


def test_the_button_leads_to_the_day_and_back(open_page: Open, server: ServerThread) -> None:
    page = open_page(server.address, lambda page: page.clock.set_fixed_time(NOW)).page
    server.publish(replace(make_frame(0, "bar"), concepts={"guitar": 0.9}))
    expect(page).to_have_title("bar · streamtag")
    page.get_by_role("button", name="Day", exact=True).click()
    expect(page).to_have_title("all streams, last 24 hours · streamtag")
    expect(page.locator("#board")).to_be_hidden()
    expect(page.locator(".day-section")).to_have_count(3)
    assert page.url.endswith("?view=day")
    page.keyboard.press("d")
    expect(page).to_have_title("bar · streamtag")
    expect(page.locator("#board")).to_be_visible()
    page.go_back()
    expect(page.locator("#day-view")).to_be_visible()
    page.reload()
    expect(page.locator(".day-section")).to_have_count(3)
    page.keyboard.press("Escape")
    expect(page.locator("#board")).to_be_visible()


def test_a_click_shows_the_moment_and_leads_to_its_hour(open_day: OpenDay) -> None:
    page = open_day()
    click_at(page, "roof", 144.5 / 288)
    to_at = -(-NOW // 300) * 300
    at = float(shown(page)["at"])
    assert at == pytest.approx(to_at - 43200 + 150, abs=100)
    expect(page.locator("#moment-title")).to_have_text("Fri 27 Nov, 08:25 – 08:30")
    assert page.locator("#moment-list dt").all_inner_texts() == ["bar", HALL, "roof"]
    assert page.locator("#moment-list dd").all_inner_texts() == ["drums", "slow", "electronic"]
    page.get_by_role("button", name="Show this hour").click()
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 08:00 – 09:00")
    assert local(float(shown(page)["from"])) == "27 08:00"
    assert shown(page)["at"] == f"{at:.0f}"
    expect(page.locator("#moment-title")).to_have_text(re.compile(r"^Fri 27 Nov, 08:2\d:\d0 – 08:2\d:\d0$"))
    expect(page.locator("#moment-zoom")).to_be_hidden()
    for keys, title in (
        ("Escape", "Friday 27 November, 08:00 – 09:00"),  # forgets the moment
        ("Escape", "Friday 27 November 2026"),  # then the hour
    ):
        page.keyboard.press(keys)
        expect(page.locator("#day-title")).to_have_text(title)
        expect(page.locator("#day-moment")).to_be_hidden()
    page.go_back()
    page.go_back()
    expect(page.locator("#day-title")).to_have_text("Last 24 hours")


def test_a_double_click_leads_to_the_hour(open_day: OpenDay) -> None:
    page = open_day("stream=bar")
    click_at(page, "bar", 0.5, times=2)
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 08:00 – 09:00")


def test_moments_hours_and_days_by_keyboard(open_day: OpenDay) -> None:
    page = open_day("stream=bar")
    slider = page.get_by_role("slider", name="Moment")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "Fri 27 Nov, 20:15 – 20:20: techno")
    page.keyboard.press("PageUp")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("^Fri 27 Nov, 19:15 – 19:20: .*techno"))
    expect(slider).to_have_attribute("aria-valuenow", "274")
    page.keyboard.press("Enter")
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 19:00 – 20:00")
    expect(page.locator("#day-view")).to_have_attribute("aria-busy", "false")
    page.keyboard.press("Home")
    expect(page.locator("#moment-title")).to_have_text("Fri 27 Nov, 19:00:00 – 19:00:10")
    page.keyboard.press("-")
    expect(page.locator("#day-title")).to_have_text("Friday 27 November 2026")
    page.keyboard.press("+")
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 19:00 – 20:00")
    expect(page.locator("#day-view")).to_have_attribute("aria-busy", "false")
    page.keyboard.press("End")
    expect(page.locator("#moment-title")).to_have_text("Fri 27 Nov, 19:59:50 – 20:00:00")
    page.keyboard.press("n")  # of the live views
    expect(page.locator("#day-view")).to_be_visible()


def test_previous_next_and_chosen_days_are_those_of_the_calendar(open_day: OpenDay) -> None:
    page = open_day()
    back, on = page.locator("#day-back"), page.locator("#day-on")
    expect(on).to_be_disabled()
    back.click()
    expect(page.locator("#day-title")).to_have_text("Thursday 26 November 2026")
    expect(page.locator("#day-view")).to_have_attribute("aria-busy", "false")
    assert [local(float(shown(page)[name])) for name in ("from", "to")] == ["26 00:00", "27 00:00"]
    expect(page.locator(".day-section")).to_have_count(2)
    expect(back).to_be_disabled()  # it begins there
    page.locator("#day-date").fill("2026-11-25")
    expect(page.locator("#day-title")).to_have_text("Wednesday 25 November 2026")
    expect(page.locator("#day-notice")).to_have_text("Nothing was heard in this time.")
    page.get_by_role("button", name="Show the last day heard").click()
    expect(page.locator("#day-title")).to_have_text("Friday 27 November 2026")
    expect(page.locator(".day-section")).to_have_count(3)
    expect(on).to_be_disabled()
    page.locator("#day-date").fill("2026-10-25")  # the clocks went back
    expect(page.locator("#day-title")).to_have_text("Sunday 25 October 2026")
    assert float(shown(page)["to"]) - float(shown(page)["from"]) == 25 * HOUR_S
    page.get_by_role("button", name="Last 24 hours").click()
    expect(page.locator("#day-title")).to_have_text("Last 24 hours")
    assert shown(page) == {}


def test_hours_follow_each_other(open_day: OpenDay) -> None:
    page = open_day()
    page.keyboard.press("+")
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 20:00 – 21:00")
    expect(page.get_by_role("button", name="Next hour")).to_be_disabled()
    page.get_by_role("button", name="Previous hour").click()
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 19:00 – 20:00")
    page.get_by_role("button", name="Next hour").click()
    page.get_by_role("button", name="Whole day").click()
    expect(page.locator("#day-title")).to_have_text("Friday 27 November 2026")


def test_one_stream_alone_by_its_name_and_by_the_list(open_day: OpenDay) -> None:
    page = open_day()
    page.locator(".day-name", has_text="bar").click()
    expect(page.locator(".day-section")).to_have_count(1)
    expect(page).to_have_title("bar, last 24 hours · streamtag")
    assert shown(page) == {"stream": "bar"}
    assert page.locator(".day-group").all_inner_texts() == ["instruments", "genre", "voice", "mood and tempo"]
    assert [name for name, _ in rows(page, "bar")] == ["guitar", "drums", "techno", "no vocals", "fast"]
    page.locator("#stream").select_option("roof")
    expect(page.locator(".day-section")).to_have_attribute("data-stream", "roof")
    page.locator("#stream").select_option("All streams")
    expect(page.locator(".day-section")).to_have_count(3)
    page.go_back()
    expect(page.locator(".day-section")).to_have_count(3)  # where the name was clicked


def test_addresses_without_sense_show_something_sensible(open_day: OpenDay, server: ServerThread) -> None:
    page = open_day("from=5&to=4")
    for query in ("from=5&to=4", "from=nan&to=inf&at=x", "from=0&to=99999999999", "stream=nobody"):
        page.goto(f"{server.address}?view=day&{query}")
        expect(page.locator("#day-title")).to_have_text("Last 24 hours")
        expect(page.locator("#day-view")).to_have_attribute("aria-busy", "false")
