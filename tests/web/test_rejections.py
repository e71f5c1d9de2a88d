"""What the page makes of a server that rejects its audio, the name or the token, or is full."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import pytest
from playwright.sync_api import FileChooser, Page, expect

from tests.wav import write_wav
from tests.web.conftest import Open, StartStub, make_frame, sources, wait_until, words
from tests.web.ingest_stub import IngestStub
from tests.web.sound import make_sound

pytestmark = pytest.mark.slow


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "song.wav", make_sound(1, 1))


def test_a_full_server_is_retried_after_its_delay(start_stub: StartStub, open_page: Open, song: Path) -> None:
    stub = start_stub(capacity=80, room=0, retry_after_s=2)
    page = open_page(stub.address).page
    page.locator("#files").set_input_files(song)
    expect(words(page)).to_have_text(re.compile(r"^The server is full: it holds 80 streams. Again in [12] s.$"))
    assert stub.connections == []
    stub.health["room"] = 1
    assert stub.wait_for(1).closed.wait(10)
    expect(words(page)).to_contain_text("tagged in")


def test_a_starting_server_is_asked_until_it_accepts_audio(start_stub: StartStub, open_page: Open) -> None:
    stub = start_stub(capacity=None, status="starting")
    page = open_page(stub.address, lambda page: page.clock.install()).page
    page.clock.run_for(4000)
    expect(page.locator("#send-controls")).to_be_hidden()
    stub.health |= {"capacity": 8, "status": "ready"}
    page.clock.run_for(4000)
    expect(page.locator("#send-controls")).to_be_visible()


def test_a_server_that_did_not_answer_is_asked_again(stub: IngestStub, open_page: Open) -> None:
    def before(page: Page) -> None:
        page.clock.install()
        page.route("**/health", lambda route: route.abort(), times=1)

    opened = open_page(stub.address, before)
    wait_until(opened.page, lambda: bool(opened.complaints))  # of the browser, about the request that failed
    expect(opened.page.locator("#send-controls")).to_be_hidden()
    opened.page.clock.run_for(4000)
    expect(opened.page.locator("#send-controls")).to_be_visible()
    opened.ignore_complaints()


def test_an_overloaded_server_is_explained(start_stub: StartStub, open_page: Open, song: Path) -> None:
    stub = start_stub(status="degraded", retry_after_s=30)
    page = open_page(stub.address).page
    page.locator("#files").set_input_files(song)
    expect(words(page)).to_have_text(re.compile(r"accepts no new stream now. Again in \d\d s.$"))
    page.get_by_role("button", name="Cancel").click()
    expect(words(page)).to_have_text("cancelled")


def test_busy_during_the_handshake_is_retried(stub: IngestStub, open_page: Open, song: Path) -> None:
    opened = open_page(stub.address)
    stub.refusals = [HTTPStatus.SERVICE_UNAVAILABLE]
    opened.page.locator("#files").set_input_files(song)
    expect(words(opened.page)).to_contain_text("Again in 1 s")
    assert stub.wait_for(1).closed.wait(10)
    assert len(opened.ignore_complaints()) == 2  # the handshake, and the question why


@pytest.mark.parametrize("how", ["listed", "kept", "refused"])
def test_a_taken_name_gets_a_suffix(stub: IngestStub, open_page: Open, song: Path, how: str) -> None:
    opened = open_page(stub.address)
    if how == "listed":
        stub.health["streams"] = {"song.wav": {"ended": False}}
    elif how == "kept":
        stub.positions = {"song.wav": 5000}
    else:
        stub.refusals = [HTTPStatus.CONFLICT]
    opened.page.locator("#files").set_input_files(song)
    connection = stub.wait_for(2 if how == "kept" else 1)
    assert connection.closed.wait(10)
    assert re.fullmatch(r"song\.wav-[a-z0-9]{4}", connection.name)
    expect(opened.page.locator("#source-list .title")).to_have_text(connection.name)
    expect(opened.page).to_have_title(f"{connection.name} · streamtag")
    if how == "kept":
        assert stub.connections[0].pcm == b""
        assert not stub.connections[0].sent_end
    if how == "refused":
        opened.ignore_complaints()


def test_a_token_for_producers_is_asked_for_and_used(stub: IngestStub, open_page: Open, song: Path) -> None:
    opened = open_page(stub.address)
    page = opened.page
    stub.refusals = [HTTPStatus.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED]
    page.locator("#files").set_input_files([song, song])
    field = page.get_by_label("Token for sending sound")
    expect(field).to_be_focused()
    expect(words(page).first).to_have_text("A token is needed.")
    field.press_sequentially("wrong f")  # keys that are shortcuts elsewhere
    field.press("Enter")
    expect(words(page).first).to_have_text("The server does not know this token.")
    field.fill("r&ght")
    page.get_by_role("button", name="Go on").click()
    connections = stub.wait_for(1), stub.wait_for(2)
    assert [connection.query["token"] for connection in connections] == ["r&ght", "r&ght"]
    expect(field).to_be_hidden()
    expect(words(page).last).to_contain_text("tagged in")
    assert "r&ght" not in page.evaluate("JSON.stringify(localStorage)")
    opened.ignore_complaints()


def test_the_reason_of_a_rejection_is_shown(stub: IngestStub, open_page: Open, song: Path) -> None:
    opened = open_page(stub.address)
    stub.refusals = [HTTPStatus.TOO_MANY_REQUESTS]
    opened.page.locator("#files").set_input_files(song)
    expect(words(opened.page)).to_have_text("Too Many Requests, says the stub")
    expect(sources(opened.page)).to_have_attribute("data-phase", "failed")
    opened.ignore_complaints()


def test_the_reason_of_a_close_is_shown(stub: IngestStub, stub_page: Page, tmp_path: Path) -> None:
    stub.reading.clear()
    stub_page.locator("#files").set_input_files(write_wav(tmp_path / "long.wav", make_sound(1, 60)))
    stub.wait_for(1)
    stub.close(1008, "no sound")
    expect(words(stub_page)).to_have_text("no sound")
    stub.reading.set()


def test_sending_works_by_keyboard(stub: IngestStub, stub_page: Page, song: Path) -> None:
    choosers: list[FileChooser] = []
    stub_page.on("filechooser", lambda chooser: choosers.append(chooser))  # at once: it takes a while to be reported
    stub.publish(make_frame(0, "radio"))
    expect(stub_page.locator("#state")).to_have_text("live")
    stub_page.locator("#stream").focus()
    stub_page.keyboard.press("Tab")
    assert stub_page.evaluate("document.activeElement.id") == "tag-mic"
    stub_page.keyboard.press("Tab")
    assert stub_page.evaluate("document.activeElement.id") == "tag-files"
    stub_page.keyboard.press("Space")
    wait_until(stub_page, lambda: bool(choosers))
    choosers[0].set_files(song)
    expect(words(stub_page)).to_contain_text("tagged in")
    show = stub_page.get_by_role("button", name="Show song.wav")
    dismiss = stub_page.get_by_role("button", name="Dismiss: song.wav")
    for _ in range(12):
        if show.evaluate("button => button === document.activeElement"):
            break
        stub_page.keyboard.press("Tab")
    stub_page.keyboard.press("Tab")
    expect(dismiss).to_be_focused()
    stub_page.keyboard.press("Enter")
    expect(sources(stub_page)).to_have_count(0)
    expect(stub_page.locator("#state")).to_have_text("ended")  # Space pressed a button, and froze nothing
