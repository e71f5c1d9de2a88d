"""A file of the page is played while it is tagged: what is shown belongs to what is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from streamtag.protocol.messages import Event, Frame
from tests.wav import write_wav
from tests.web.conftest import Open, StartStub, box, make_frame, present, value_of, wait_until, words
from tests.web.ingest_stub import HOP, IngestStub
from tests.web.sound import make_sound

pytestmark = pytest.mark.slow

SECONDS = 24
TURN = round(SECONDS / 2 / HOP)  # the frame from which on drums play instead of a guitar


def halves(number: int, stream: str, **_: Any) -> Frame:
    return make_frame(number, stream, **({"guitar": 0.9} if number < TURN else {"drums": 0.8}))


@pytest.fixture
def stub(start_stub: StartStub) -> IngestStub:
    return start_stub(make_frame=halves)


@pytest.fixture
def tagged(stub: IngestStub, open_page: Open, tmp_path: Path) -> Page:
    """The page after it has sent a file, of which a guitar plays the first half and drums the second."""
    page = open_page(stub.address).page
    page.locator("#files").set_input_files(write_wav(tmp_path / "ride.wav", make_sound(1, SECONDS, 16000), 16000))
    expect(words(page)).to_contain_text("tagged in")
    for event in (
        Event("ride.wav", "guitar", "on", 0.0),
        Event("ride.wav", "guitar", "off", TURN * HOP),
        Event("ride.wav", "drums", "on", TURN * HOP),
    ):
        stub.publish(event)
    return page


def heard(page: Page) -> float:
    """The position in seconds."""
    return float(page.locator("#seek").input_value())


def test_a_click_in_the_picture_plays_from_there(tagged: Page) -> None:
    expect(tagged.locator("#present-title")).to_have_text("Present in the whole stream")
    expect(tagged.locator("#past")).to_have_text("the whole file")
    expect(tagged.locator("#playhead")).to_be_hidden()
    lane = box(tagged.locator("#rows > li:nth-child(3) .lane"))
    tagged.mouse.click(lane["x"] + 0.75 * lane["width"], lane["y"] + 5)
    expect(tagged.locator("#play")).to_have_attribute("aria-label", "Pause ride.wav")
    wait_until(tagged, lambda: heard(tagged) > 18.3)
    assert heard(tagged) < 24
    expect(present(tagged)).to_have_text(["drums"])
    assert (value_of(tagged, "guitar").inner_text(), value_of(tagged, "drums").inner_text()) == ("0.02", "0.80")
    line = box(tagged.locator("#playhead"))
    assert 0.74 < (line["x"] - lane["x"]) / lane["width"] <= 1
    tagged.locator("#time").click(position={"x": 0.25 * lane["width"], "y": 5})
    expect(present(tagged)).to_have_text(["guitar"])
    assert (value_of(tagged, "guitar").inner_text(), value_of(tagged, "drums").inner_text()) == ("0.90", "0.02")
    assert 5.9 < heard(tagged) < 12


def test_playing_works_by_keyboard(tagged: Page) -> None:
    tagged.locator("#source-list .stop").focus()
    tagged.keyboard.press("Tab")
    assert tagged.evaluate("document.activeElement.id") == "play"
    tagged.keyboard.press("Enter")
    wait_until(tagged, lambda: heard(tagged) > 0.3)
    tagged.keyboard.press("Space")  # on the button
    expect(tagged.locator("#play")).to_have_attribute("aria-label", "Play ride.wav")
    stopped = heard(tagged)
    tagged.keyboard.press("Tab")
    assert tagged.evaluate("document.activeElement.id") == "seek"
    for _ in range(3):
        tagged.keyboard.press("PageUp")
    wait_until(tagged, lambda: heard(tagged) > stopped + 1)
    tagged.keyboard.press("End")
    expect(present(tagged)).to_have_text(["drums"])
    tagged.evaluate("document.activeElement.blur()")
    tagged.locator("#time").focus()
    tagged.keyboard.press("Home")
    expect(present(tagged)).to_have_text(["guitar"])
    for _ in range(3):
        tagged.keyboard.press("ArrowRight")
    expect(tagged.locator("#now")).to_have_text("at 0:15.0")
    assert heard(tagged) == pytest.approx(15, abs=0.1)
    slider = tagged.get_by_role("slider", name="Position in the file")
    assert float(slider.get_attribute("aria-valuenow") or "nan") == pytest.approx(15, abs=0.2)
    tagged.keyboard.press("Space")
    wait_until(tagged, lambda: heard(tagged) > 15.3)
    tagged.keyboard.press("Escape")
    expect(tagged.locator("#present-title")).to_have_text("Present in the whole stream")
    expect(tagged.locator("#playhead")).to_be_hidden()
    expect(tagged.locator("#play")).to_have_attribute("aria-label", "Play ride.wav")


def test_less_of_a_file_follows_what_is_heard(tagged: Page) -> None:
    tagged.locator("#span").select_option("15")
    tagged.locator("#time").focus()
    tagged.keyboard.press("End")
    tagged.keyboard.press("ArrowLeft")
    lane = box(tagged.locator("#time"))
    time = float(tagged.locator("#seek").input_value())
    line = box(tagged.locator("#playhead"))
    assert (line["x"] - lane["x"]) / lane["width"] == pytest.approx(1 - (SECONDS - time) / 15, abs=0.02)
    tagged.keyboard.press("-")
    expect(tagged.locator("#span")).to_have_value("file")


def test_another_stream_is_not_mixed_with_what_is_heard(tagged: Page, stub: IngestStub) -> None:
    tagged.locator("#play").click()
    wait_until(tagged, lambda: heard(tagged) > 0.2)
    stub.publish(make_frame(0, "radio", piano=0.7))
    tagged.locator("#stream").select_option("radio")
    expect(tagged.locator("#player")).to_be_hidden()
    expect(tagged.locator("#past")).to_have_text("last minute")
    tagged.keyboard.press("n")
    expect(tagged.locator("#play")).to_have_attribute("aria-label", "Play ride.wav")  # it has stopped
    tagged.get_by_role("button", name="Dismiss: ride.wav").click()
    expect(tagged.locator("#player")).to_be_hidden()


def test_what_is_not_tagged_yet_says_so(stub: IngestStub, open_page: Open, tmp_path: Path) -> None:
    page = open_page(stub.address).page
    stub.hold_after = 2 * 16000 * 8  # of 24 s
    page.locator("#files").set_input_files(write_wav(tmp_path / "ride.wav", make_sound(1, SECONDS, 16000), 16000))
    stub.wait_until(lambda: not stub.reading.is_set())
    page.locator("#time").focus()
    page.keyboard.press("End")
    expect(page.locator("#present")).to_have_text("not tagged yet")
    expect(page.locator("#player-words")).to_have_text("What is heard is not tagged yet.")
    stub.reading.set()
    expect(page.locator("#present")).to_have_text("nothing certain")  # without events
    expect(value_of(page, "drums")).to_have_text("0.80")
