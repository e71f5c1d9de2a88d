"""The Day view: what was heard, and what cannot be read."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route, expect

from streamtag.history.schema import open_for_writing
from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, Open, Start, make_frame
from tests.web.day.conftest import HALL, HOUR_AGO_MS, OpenDay, colours, rows
from tests.web.scenes import CONCEPTS
from tests.web.stored import HOUR_S, NOW


def test_there_is_no_day_without_a_history(open_page: Open, start: Start) -> None:
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


def test_one_request_for_all_streams_and_their_minutes(open_day: OpenDay) -> None:
    page = open_day()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(urlsplit(request.url).path))
    page.reload()
    expect(page.locator(".day-section")).to_have_count(3)
    assert requests.count("/api/history") == 1
    assert rows(page, HALL) == [
        ("slow", "6 h 00 min"),
        ("classical", "5 h 18 min"),
        ("strings", "4 h 00 min"),
        ("male vocals", "1 min"),
    ]


def test_bars_gaps_and_silence_are_where_they_were(open_day: OpenDay) -> None:
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


def test_more_concepts_are_shown_where_somebody_wants_them(open_day: OpenDay, path: Path) -> None:
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
    opened = open_page(f"{server.address}?view=day&stream=bar", lambda page: page.clock.install(time=NOW))
    expect(opened.page.locator(".day-row")).to_have_count(5)
    with closing(open_for_writing(path)) as connection:
        values = 9, HOUR_AGO_MS, HOUR_AGO_MS + 600_000
        connection.execute("INSERT INTO presence VALUES (NULL, 1, ?, ?, ?, 230, 204)", values)
    opened.page.clock.run_for(61_000)
    expect(opened.page.locator(".day-row")).to_have_count(6)
    opened.ignore_complaints()  # of connections that a minute without a message makes the page give up


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


def test_an_empty_history_says_so(open_day: OpenDay, start: Start, tmp_path: Path) -> None:
    page = open_day(server=start(history=tmp_path / "later.db"))
    expect(page.locator("#day-notice")).to_have_text("The history is empty so far.")
    expect(page.locator("#day-stage")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    expect(page.locator("#day-title")).to_have_text("Friday 27 November, 20:00 – 21:00")


def test_the_token_of_the_page_is_used(open_page: Open, start: Start, path: Path) -> None:
    server = start(hello=replace(HELLO, concepts=CONCEPTS), history=path, token="s3cret")
    page = open_page(f"{server.address}?token=s3cret&view=day", lambda page: page.clock.set_fixed_time(NOW)).page
    expect(page.locator(".day-section")).to_have_count(3)
    page.keyboard.press("ArrowLeft")
    assert "token=s3cret" in page.url


def test_names_are_text_and_nothing_else(open_day: OpenDay, path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    with closing(open_for_writing(path)) as connection:
        connection.execute("UPDATE stream SET name = ? WHERE name = 'bar'", (name,))
        connection.execute("UPDATE concept SET name = ? WHERE name = 'guitar'", (name,))
    page = open_day()
    expect(page.locator(".day-name").first).to_have_text(name)
    assert json.loads(page.evaluate("JSON.stringify([...document.querySelectorAll('.day-view img')].length)")) == 0
