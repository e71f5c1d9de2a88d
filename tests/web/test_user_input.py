"""What a reader does: keys alone, the display frozen, files saved."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from playwright.sync_api import Page, WebSocketRoute, expect

from streamtag.protocol.messages import Event, Frame, Gap, Hello, Message
from streamtag.protocol.reader import parse
from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, Open, make_frame, mocked, play, reload, settle, value_of


def save(page: Page, act: Callable[[], None], path: Path) -> str:
    """-> the name that the page gave the file."""
    with page.expect_download() as download:
        act()
    download.value.save_as(path)
    return download.value.suggested_filename


def test_freeze_stops_the_display_only(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 40, guitar=0.9)
    page.keyboard.press("Space")
    expect(page.locator("#state")).to_have_text("frozen")
    expect(page.locator("#freeze")).to_have_attribute("aria-pressed", "true")
    settle(page)
    before = page.locator("#board").screenshot()
    play(server, page, 40, 40, guitar=0.2, drums=0.8)
    assert value_of(page, "guitar").inner_text() == "0.90"
    expect(page.locator("#clock")).to_have_text("0:09")
    expect(page.locator("#now")).to_have_text("at 0:10.0")
    settle(page)
    assert page.locator("#board").screenshot() == before
    page.keyboard.press("Space")
    expect(page.locator("#state")).to_have_text("live")
    assert value_of(page, "guitar").inner_text() == "0.20"
    assert page.locator("#board").screenshot() != before


def test_the_page_works_by_keyboard(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 40, guitar=0.9)
    play(server, page, 40, 1, drums=0.8)
    page.keyboard.press("/")
    page.keyboard.type("arp")
    expect(page.locator("#rows .tag")).to_have_text(["harp"])
    page.keyboard.press("Escape")
    expect(page.locator("#filter")).to_have_value("")
    page.keyboard.press("-")
    expect(page.locator("#past")).to_have_text("last 2 minutes")
    page.keyboard.press("+")
    expect(page.locator("#past")).to_have_text("last minute")
    page.keyboard.press("?")
    expect(page.locator("#notes")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#notes")).to_be_hidden()
    pin = page.get_by_role("button", name="male vocal")
    pin.focus()
    page.keyboard.press("Enter")
    expect(pin).to_have_attribute("aria-pressed", "true")
    expect(pin).to_be_focused()  # although its row is another one now


def test_the_history_is_readable_by_keyboard(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 40, guitar=0.9)
    play(server, page, 40, 40, drums=0.8)
    slider = page.get_by_role("slider", name="Look back in time")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^0:20\.2: drums 0\.80, "))
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^0:20\.0: drums"))
    slider.focus()
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^0:09\.[5-9]: guitar 0\.90, "))
    expect(page.locator("#cursor")).to_be_visible()
    assert value_of(page, "guitar").inner_text() == "0.90"
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuenow", "0.00")
    page.keyboard.press("End")
    expect(slider).to_have_attribute("aria-valuenow", "20.22")
    page.keyboard.press("Escape")
    expect(page.locator("#cursor")).to_be_hidden()


def test_single_keys_can_be_switched_off(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 1)
    page.keyboard.press("?")
    page.get_by_label("Single keys are shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement === document.body")  # until then Space is the hidden checkbox's
    page.keyboard.press("Space")
    page.keyboard.press("t")
    play(server, page, 1, 1)
    expect(page.locator("#state")).to_have_text("live")
    reload(page)
    expect(page.locator("#frames")).to_have_text("2")
    page.keyboard.press("Space")
    play(server, page, 2, 1)
    expect(page.locator("#state")).to_have_text("live")


def test_browser_shortcuts_are_left_alone(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 1)
    page.keyboard.press("Control+Shift+S")
    page.locator("#filter").fill("a")
    page.keyboard.press("Space")
    page.keyboard.type("s")
    assert page.locator("#filter").input_value() == "a s"
    expect(page.locator("#state")).to_have_text("live")


def test_the_session_is_saved_as_received(page: Page, server: ServerThread, tmp_path: Path) -> None:
    sent: list[Message] = [make_frame(k, guitar=k / 100, latency_s=0.4) for k in range(30)]
    sent[7:7] = [Gap("mic", 1.0, 0.5), Event("mic", "harp", "on", 1.0)]
    for message in sent:
        server.publish(message)
    expect(page.locator("#frames")).to_have_text("30")
    page.locator("#freeze").click()
    later = make_frame(30)
    server.publish(later)
    expect(page.locator("#frames")).to_have_text("31")
    for act in (page.locator("#save-lines").click, lambda: page.keyboard.press("j")):
        assert save(page, act, tmp_path / "session") == "streamtag-session.jsonl"
        lines = (tmp_path / "session").read_text(encoding="utf-8").splitlines()
        assert lines == [message.to_json() for message in (replace(HELLO, streams=()), *sent, later)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_history_is_saved_as_a_picture(server: ServerThread, open_page: Open, tmp_path: Path, scheme: str) -> None:
    page = open_page(server.address, color_scheme=scheme).page
    for number in range(200):
        server.publish(make_frame(number, "../my song?.mp3", guitar=0.95 if 100 <= number < 150 else 0.05))
    expect(page.locator("#frames")).to_have_text("200")
    name = save(page, page.locator("#save-png").click, tmp_path / "picture.png")
    assert name == "streamtag-my_song_.mp3-0m50s.png"
    picture = imread(tmp_path / "picture.png")[..., :3]
    rows = page.locator("#rows > li").count()
    assert picture.shape[1] == 1600
    assert picture.shape[0] > 30 * rows
    corner = picture[2, 2]
    assert bool(corner.mean() > 0.9) is (scheme == "light")
    lane = picture[130 + 10, 190:1555]  # guitar is the strongest: the first lane, a minute wide
    at = [lane[round(time / 60 * len(lane))] for time in (10, 30, 45, 58)]
    assert np.allclose(at[0], at[2], atol=0.02)
    assert np.abs(at[1] - at[0]).max() > 0.3
    assert np.abs(at[3] - at[0]).max() > 0.01  # nothing there yet


@pytest.mark.slow
def test_the_session_keeps_the_newest_and_begins_with_a_hello(
    server: ServerThread, open_page: Open, tmp_path: Path
) -> None:
    heavy, count = 400_000, 60  # 24 MB, of which 16 fit

    def handle(route: WebSocketRoute) -> None:
        route.send(HELLO.to_json())
        for number in range(count):
            route.send(make_frame(number).to_json()[:-1] + f',"padding":"{"x" * heavy}"}}')

    page = open_page(server.address, mocked(handle)).page
    expect(page.locator("#frames")).to_have_text(str(count))
    save(page, page.locator("#save-lines").click, tmp_path / "session")
    assert heavy * 38 < (tmp_path / "session").stat().st_size <= 16 * 2**20 + 4096
    messages = [parse(line) for line in (tmp_path / "session").read_text(encoding="utf-8").splitlines()]
    assert isinstance(messages[0], Hello)
    numbers = [message.frame for message in messages if isinstance(message, Frame)]
    assert numbers == list(range(count - len(numbers), count))
