"""How it looks: light and dark, large and small, and that nothing jumps."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import FloatRect, Page, WebSocketRoute, expect

from streamtag.protocol.messages import Error, Event, Gap, Hello
from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, Open, Start, box, make_frame, mocked, present, reload

pytestmark = pytest.mark.slow

PARTS = ("#stream", ".above", "#present", ".tools", "#rows", "#time", "#stats", "#save-lines", "#theme")


def shown(page: Page) -> str:
    """What the paper is, as it is painted."""
    paint = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", paint)[:3])
    assert not 80 < brightness < 700
    return "dark" if brightness <= 80 else "light"


def places(page: Page) -> dict[str, FloatRect | None]:
    """Where the page's parts are."""
    return {part: page.locator(part).bounding_box() for part in PARTS}


def test_light_and_dark_follow_the_system_until_chosen(server: ServerThread, open_page: Open) -> None:
    page = open_page(server.address, color_scheme="light").page
    assert shown(page) == "light"
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert shown(page) == "dark"
    page.keyboard.press("t")  # the other one first
    assert shown(page) == "light"
    reload(page)
    assert shown(page) == "light"
    page.locator("#theme").click()
    assert shown(page) == "dark"
    page.emulate_media(color_scheme="light")
    reload(page)
    assert shown(page) == "dark"


CONTRASTS = """() => {
  const channel = part => { part /= 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4 };
  const pen = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const light = colour => {
    pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
    return 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue) };
  const style = getComputedStyle(document.documentElement), of = name => light(style.getPropertyValue(`--${name}`));
  const ratio = (a, b) => (Math.max(of(a), of(b)) + 0.05) / (Math.min(of(a), of(b)) + 0.05);
  const text = ["ink", "soft", "on", "warn", "bad"].flatMap(name => [ratio(name, "paper"), ratio(name, "card")]);
  return [Math.min(...text), ratio("edge", "paper"), ratio("focus", "paper")] }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_have_enough_contrast(server: ServerThread, open_page: Open, scheme: str) -> None:
    page = open_page(server.address, color_scheme=scheme).page
    words, marks, focus = page.evaluate(CONTRASTS)
    assert words >= 4.5
    assert marks >= 3
    assert focus >= 3


@pytest.mark.parametrize("width", [320, 600, 1024])
def test_nothing_is_wider_than_the_screen(start: Start, open_page: Open, width: int) -> None:
    long = ("unpronounceable" * 6, "many words " * 12, "x", *(f"tag {k}" for k in range(12)))
    hello = Hello("streamtag 0.1.0", "modelname" * 12, long, 16000, 0.256, 0.512, 0.384, (0.5,) * len(long))
    server = start(hello=hello)
    page = open_page(server.address, viewport={"width": width, "height": 800}).page
    name = "streamname" * 20
    values = dict.fromkeys(long, 0.9)
    for number in range(20):
        frame = make_frame(number, name)
        server.publish(type(frame)(name, number, frame.start, frame.end, values, 0.4))
    for tag in long:
        server.publish(Event(name, tag, "on", 4.8))
    server.publish(Error("something went wrong " * 12, name))
    expect(present(page)).to_have_count(len(long))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for part in ("#notice", "#present", "#stream", "#rows"):
        place = box(page.locator(part))
        assert 0 <= place["x"] <= place["x"] + place["width"] <= width


@pytest.mark.parametrize("width", [360, 1280])
def test_the_layout_does_not_shift(server: ServerThread, open_page: Open, width: int) -> None:
    sockets: list[WebSocketRoute] = []

    def handle(route: WebSocketRoute) -> None:
        route.connect_to_server()
        sockets.append(route)

    screen = {"width": width, "height": 800}
    page = open_page(server.address, mocked(handle), viewport=screen, reduced_motion="reduce").page
    still = places(page)
    server.publish(make_frame(0, guitar=0.9))
    expect(page.locator("#state")).to_have_text("live")
    assert places(page) == still
    for tag in HELLO.tags:
        server.publish(Event("mic", tag, "on", 0.0))
    server.publish(Gap("mic", 0.1, 4.0))
    expect(present(page)).to_have_count(len(HELLO.tags))
    expect(page.locator("#notice")).not_to_have_text("")
    assert places(page) == still
    server.publish(Error("the microphone is gone, and this sentence is a rather long one: trying again", "mic"))
    expect(page.locator("#notice")).to_contain_text("microphone")
    assert places(page) == still
    page.locator("#filter").fill("guitar")
    expect(page.locator("#rows > li")).to_have_count(1)
    page.locator("#filter").fill("")
    for number in range(1, 400):
        server.publish(make_frame(number, latency_s=0.4, drums=0.9))
    expect(page.locator("#frames")).to_have_text("400")
    page.evaluate("scrollTo(0, 0)")
    assert places(page) == still
    sockets[0].close(code=1013)
    expect(page.locator("#retry")).to_be_visible()
    assert places(page) == still
