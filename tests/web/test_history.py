"""Tags by time: what is painted, what is lost, what is read out of it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from streamtag.protocol.messages import Gap
from streamtag.server.thread import ServerThread
from tests.web.conftest import Open, box, play, value_of

pytestmark = pytest.mark.slow
HOP_S = 0.256
SPAN_S = 60.0  # of history shown by default
Colour = tuple[int, int, int, int]


def pixel(page: Page, tag: str, time: float, height: float = 0.4, start: float = 0.0) -> Colour:
    """Of a tag's lane at a stream time. start: the time at its left edge; height: part of the lane's."""
    script = """([tag, part, height]) => {
        const row = [...document.querySelectorAll("#rows > li")].find(row => row.dataset.tag === tag);
        const lane = row.querySelector(".lane");
        const x = Math.floor(part * lane.width), y = Math.floor(height * lane.height);
        const pen = new OffscreenCanvas(1, 1).getContext("2d");
        pen.drawImage(lane, x, y, 1, 1, 0, 0, 1, 1);
        return [...pen.getImageData(0, 0, 1, 1).data] }"""
    red, green, blue, alpha = page.evaluate(script, [tag, (time - start) / SPAN_S, height])
    return red, green, blue, alpha


def point_at(page: Page, tag: str, time: float) -> None:
    lane = box(page.locator(f"#rows > li[data-tag='{tag}'] .lane"))
    page.mouse.move(lane["x"] + time / SPAN_S * lane["width"], lane["y"] + 4)


def brightness(colour: Colour) -> int:
    return sum(colour[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_only_the_past_is_painted(server: ServerThread, open_page: Open, scheme: str) -> None:
    page = open_page(server.address, color_scheme=scheme).page
    play(server, page, 0, 40, guitar=0.05)
    assert pixel(page, "guitar", 5)[3] == 255
    assert pixel(page, "guitar", 20)[3] == 0
    play(server, page, 40, 40, guitar=0.95)
    low, high = pixel(page, "guitar", 5), pixel(page, "guitar", 15)
    assert pixel(page, "drums", 15) == pixel(page, "drums", 5)
    assert (brightness(high) > brightness(low) + 200) is (scheme == "dark")  # in the light, more is darker
    assert (brightness(high) < brightness(low) - 200) is (scheme == "light")


def test_the_picture_scrolls_when_it_is_full(page: Page, server: ServerThread) -> None:
    frames = round(90 / HOP_S)
    play(server, page, 0, 40, guitar=0.95)
    early = pixel(page, "guitar", 5)
    play(server, page, 40, frames - 40, guitar=0.05)
    late = pixel(page, "guitar", 5)
    assert early != late
    start = frames * HOP_S - SPAN_S
    assert pixel(page, "guitar", start + 1, start=start)[3] == 255
    assert pixel(page, "guitar", start + 59, start=start) == pixel(page, "guitar", start + 1, start=start)


def test_gaps_are_hatched_and_counted(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 40, guitar=0.5)
    whole = {pixel(page, "guitar", 5 + k / 20) for k in range(20)}
    server.publish(Gap("mic", 10.0, 2.5))
    expect(page.locator("#notice")).to_have_text("2.5 s of sound were lost at 0:10.")
    play(server, page, 50, 40, guitar=0.5)
    hatched = {pixel(page, "guitar", 10.5 + k / 20) for k in range(20)}
    assert len(whole) == 1
    assert len(hatched) > 1
    assert not whole & hatched
    expect(page.locator("#gaps")).to_have_text("1 (2.5 s lost)")
    point_at(page, "guitar", 11.5)
    expect(page.locator("#bubble")).to_contain_text("2.5 s of sound lost")


def test_missing_frames_leave_a_hole(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 40, guitar=0.5)
    play(server, page, 80, 40, guitar=0.5)
    assert [pixel(page, "guitar", time)[3] for time in (8, 15, 25)] == [255, 0, 255]
    point_at(page, "guitar", 15)
    expect(page.locator("#bubble")).to_have_text("0:15.0 · nothing came")
    point_at(page, "guitar", 25)
    expect(page.locator("#bubble")).to_have_text(re.compile(r"^0:2[45]\.\d · guitar 0\.50$"))


def test_pointing_shows_past_values(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 40, guitar=0.9)
    play(server, page, 40, 40, drums=0.8)
    value = value_of(page, "guitar")
    expect(value).to_have_text("0.02")
    point_at(page, "drums", 5)
    expect(value).to_have_text("0.90")
    expect(page.locator("#now")).to_have_text(re.compile(r"^at 0:0[45]\.\d$"))
    line, lane = box(page.locator("#cursor")), box(page.locator(".lane").first)
    assert line["x"] == pytest.approx(lane["x"] + 5 / SPAN_S * lane["width"], abs=2)
    page.mouse.move(5, 5)
    expect(value).to_have_text("0.02")
    expect(page.locator("#now")).to_have_text("now")
    expect(page.locator("#cursor")).to_be_hidden()


def test_the_history_is_bounded(page: Page, server: ServerThread) -> None:
    kept = 9000  # frames, at most
    for start in range(0, 12000, 1000):
        play(server, page, start, 1000, guitar=0.5)
    oldest = float(page.locator("#time").get_attribute("aria-valuemin") or "nan")
    newest = float(page.locator("#time").get_attribute("aria-valuemax") or "nan")
    assert newest == pytest.approx(11999 * HOP_S, abs=0.01)
    assert 1800 < newest - oldest <= kept * HOP_S
