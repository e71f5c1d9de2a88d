"""The Day view: what was heard, and the ways to a moment, an hour and another day."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, Route, expect

from streamtag.history.schema import open_for_writing
from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, Open, make_frame
from tests.web.scenes import CONCEPTS
from tests.web.stored import HOUR_MS, HOUR_S, NOW, SESSIONS, ZONE, write_history

HOUR_AGO_MS = round(HOUR_MS * (SESSIONS[0][1] - 1))  # in the first session
HALL = "hall with a rather long name"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "history.db"
    write_history(path, CONCEPTS)
    return path


@pytest.fixture
def server(start: Callable[..., ServerThread], path: Path) -> ServerThread:
    return start(hello=replace(HELLO, concepts=CONCEPTS), history=path)


@pytest.fixture
def open_day(server: ServerThread, open_page: Open) -> Callable[..., Page]:
    """open_day("stream=bar", server=..., **options of a context) -> the page at NOW.

    The server is requested first, so that it outlives the page: a request may be under way at the end.
    """

    def open_day(query: str = "", server: ServerThread = server, **options: Any) -> Page:
        set_clock: Callable[[Page], None] = lambda page: page.clock.set_fixed_time(NOW)  # noqa: E731
        address = f"{server.address}?view=day&{query}"
        page = open_page(address, set_clock, **{"timezone_id": ZONE, **options}).page
        expect(page.locator("#day-view")).to_be_visible()
        return page

    return open_day


def local(at: float) -> str:
    """Day and time, as in "27 20:21"."""
    return datetime.fromtimestamp(at, ZoneInfo(ZONE)).strftime("%d %H:%M")


def shown(page: Page) -> dict[str, str]:
    """What the address says."""
    return {name: value for name, (value,) in parse_qs(urlsplit(page.url).query).items() if name != "view"}


def rows(page: Page, stream: str) -> list[tuple[str, str]]:
    section = page.locator(f".day-section[data-stream='{stream}']")
    names = section.locator(".day-row th").all_inner_texts()
    return list(zip(names, section.locator(".day-row td").all_inner_texts(), strict=True))


def click_at(page: Page, stream: str, part: float, times: int = 1) -> None:
    """Click in the picture of a stream."""
    canvas = page.locator(f".day-section[data-stream='{stream}'] canvas")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": part * box["width"], "y": 5}, click_count=times)


def colours(page: Page, stream: str, part: float) -> list[list[int]]:
    """The colours of a column of its picture, each once."""
    script = """(canvas, part) => { const found = new Set(), copy = document.createElement("canvas");
      Object.assign(copy, {width: canvas.width, height: canvas.height});
      const pen = copy.getContext("2d", {willReadFrequently: true});
      pen.drawImage(canvas, 0, 0);
      const data = pen.getImageData(Math.floor(part * canvas.width), 0, 1, canvas.height).data;
      for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) found.add(data.slice(at, at + 3).join());
      return [...found].map(text => text.split(",").map(Number)) }"""
    found: list[list[int]] = page.locator(f".day-section[data-stream='{stream}'] canvas").evaluate(script, part)
    return found


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


def test_there_is_no_day_without_a_history(open_page: Open, start: Callable[..., ServerThread]) -> None:
    server = start()
    page = open_page(server.address).page
    server.publish(make_frame(0))
    expect(page.locator("#frames")).to_have_text("1")
    page.keyboard.press("d")
    expect(page.locator("#day")).to_be_hidden()
    expect(page.locator("#board")).to_be_visible()
    opened = open_page(f"{server.address}?view=day")
    expect(opened.page.locator("#day-notice")).to_have_text(
        "This server keeps no history: start it with --history FILE."
    )
    assert len(opened.ignore_complaints()) == 1  # 404


def test_one_request_for_all_streams_and_their_minutes(open_day: Callable[..., Page]) -> None:
    page = open_day()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(urlsplit(request.url).path))
    page.reload()
    expect(page.locator(".day-section")).to_have_count(3)
    assert requests.count("/api/history") == 1
    assert rows(page, "bar")[:2] == [("no vocals", "13 h 36 min"), ("guitar", "8 h 00 min")]
    assert rows(page, HALL) == [
        ("slow", "6 h 00 min"),
        ("classical", "5 h 18 min"),
        ("strings", "4 h 00 min"),
        ("male vocals", "1 min"),
    ]
    assert rows(page, "roof") == [("electronic", "6 h 00 min")]
    facts = page.locator(".day-facts").all_inner_texts()
    assert facts == ["heard 23 h 56 min", "heard 20 h 26 min · 2 gaps, 7 min lost", "heard 11 h 00 min"]


def test_bars_gaps_and_silence_are_where_they_were(open_day: Callable[..., Page]) -> None:
    page = open_day(color_scheme="light")
    expect(page.locator(".day-section")).to_have_count(3)
    to_at = -(-NOW // 300) * 300
    present, heard, lost = [11, 122, 99], [242, 239, 236], [143, 82, 0]

    def at(stream: str, hours: float) -> list[list[int]]:
        return colours(page, stream, 1 - (to_at - (NOW - HOUR_S * hours)) / 86400)

    assert present in at("roof", 12)
    assert present not in at("roof", 16)
    assert heard in at("roof", 16)
    assert heard not in at("roof", 4)
    assert lost in at(HALL, 2.95)
    assert lost not in at(HALL, 5)
    assert heard not in at(HALL, 16)


def test_a_click_shows_the_moment_and_leads_to_its_hour(open_day: Callable[..., Page]) -> None:
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


def test_a_double_click_leads_to_the_hour(open_day: Callable[..., Page]) -> None:
    page = open_day("stream=bar")
    click_at(page, "bar", 0.5, times=2)
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 08:00 – 09:00")


def test_moments_hours_and_days_by_keyboard(open_day: Callable[..., Page]) -> None:
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


def test_previous_next_and_chosen_days_are_those_of_the_calendar(open_day: Callable[..., Page]) -> None:
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


def test_hours_follow_each_other(open_day: Callable[..., Page]) -> None:
    page = open_day()
    page.keyboard.press("+")
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 20:00 – 21:00")
    expect(page.get_by_role("button", name="Next hour")).to_be_disabled()
    page.get_by_role("button", name="Previous hour").click()
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 19:00 – 20:00")
    page.get_by_role("button", name="Next hour").click()
    page.get_by_role("button", name="Whole day").click()
    expect(page.locator("#day-title")).to_have_text("Friday 27 November 2026")


def test_one_stream_alone_by_its_name_and_by_the_list(open_day: Callable[..., Page]) -> None:
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


def test_more_concepts_are_shown_where_somebody_wants_them(open_day: Callable[..., Page], path: Path) -> None:
    with closing(open_for_writing(path)) as connection:
        for number in (7, 9):
            values = number, HOUR_AGO_MS, HOUR_AGO_MS + 60_000 * number
            connection.execute("INSERT INTO presence VALUES (NULL, 1, ?, ?, ?, 230, 204)", values)
    page = open_day()
    section = page.locator(".day-section[data-stream='bar']")
    expect(section.locator(".day-row")).to_have_count(5)
    section.get_by_role("button", name="2 more concepts of bar").click()
    expect(section.locator(".day-row")).to_have_count(7)
    section.get_by_role("button", name="Fewer concepts of bar").click()
    expect(section.locator(".day-row")).to_have_count(5)


def test_a_range_that_goes_on_is_read_again(open_page: Open, server: ServerThread, path: Path) -> None:
    page = open_page(f"{server.address}?view=day&stream=bar", lambda page: page.clock.install(time=NOW)).page
    expect(page.locator(".day-row")).to_have_count(5)
    with closing(open_for_writing(path)) as connection:
        values = 9, HOUR_AGO_MS, HOUR_AGO_MS + 600_000
        connection.execute("INSERT INTO presence VALUES (NULL, 1, ?, ?, ?, 230, 204)", values)
    page.clock.run_for(61_000)
    expect(page.locator(".day-row")).to_have_count(6)


def test_a_history_that_cannot_be_read_is_reported_and_tried_again(open_page: Open, server: ServerThread) -> None:
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if refused:
            return route.continue_()
        refused.append(route.request.url)
        return route.fulfill(status=503, body="the history cannot be read: disk I/O error\n", content_type="text/plain")

    def before(page: Page) -> None:
        page.clock.install(time=NOW)
        page.route("**/api/history*", refuse_once)

    opened = open_page(f"{server.address}?view=day", before)
    expect(opened.page.locator("#day-notice")).to_have_text("The history cannot be read: disk I/O error.")
    opened.page.clock.run_for(6_000)
    expect(opened.page.locator(".day-section")).to_have_count(3)
    expect(opened.page.locator("#day-notice")).to_have_text("")
    assert len(opened.ignore_complaints()) == 1


def test_an_empty_history_says_so(
    open_day: Callable[..., Page], start: Callable[..., ServerThread], tmp_path: Path
) -> None:
    page = open_day(server=start(history=tmp_path / "later.db"))
    expect(page.locator("#day-notice")).to_have_text("The history is empty so far.")
    expect(page.locator("#day-stage")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 20:00 – 21:00")


def test_the_token_of_the_page_is_used(open_page: Open, start: Callable[..., ServerThread], path: Path) -> None:
    server = start(hello=replace(HELLO, concepts=CONCEPTS), history=path, token="s3cret")
    page = open_page(f"{server.address}?token=s3cret&view=day", lambda page: page.clock.set_fixed_time(NOW)).page
    expect(page.locator(".day-section")).to_have_count(3)
    page.keyboard.press("ArrowLeft")
    assert "token=s3cret" in page.url


@pytest.mark.parametrize("query", ["from=5&to=4", "from=nan&to=inf&at=x", "from=0&to=99999999999", "stream=nobody"])
def test_addresses_without_sense_show_something_sensible(open_day: Callable[..., Page], query: str) -> None:
    page = open_day(query)
    expect(page.locator("#day-title")).to_have_text("Last 24 hours")
    expect(page.locator("#day-view")).to_have_attribute("aria-busy", "false")


def test_names_are_text_and_nothing_else(open_day: Callable[..., Page], path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    with closing(open_for_writing(path)) as connection:
        connection.execute("UPDATE stream SET name = ? WHERE name = 'bar'", (name,))
        connection.execute("UPDATE concept SET name = ? WHERE name = 'guitar'", (name,))
    page = open_day()
    expect(page.locator(".day-name").first).to_have_text(name)
    assert json.loads(page.evaluate("JSON.stringify([...document.querySelectorAll('.day-view img')].length)")) == 0
