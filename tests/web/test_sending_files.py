"""Files that are chosen or dropped on the page: decoded there and sent as fast as the server reads them."""

from __future__ import annotations

import re
import wave
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from streamtag.server.thread import ServerThread
from tests.wav import write_wav
from tests.web.conftest import Open, box, make_frame, sources, wait_until, words
from tests.web.ingest_stub import IngestStub
from tests.web.sound import correlation, make_sound

pytestmark = pytest.mark.slow

WATCH_THE_SOCKETS = """
  const send = WebSocket.prototype.send;
  window.most = 0; window.sentBytes = 0;
  WebSocket.prototype.send = function (data) {
    send.call(this, data);
    window.sentBytes += data.byteLength ?? 0;
    window.most = Math.max(window.most, this.bufferedAmount);
  }"""


def drop(page: Page, *paths: Path | str) -> None:
    """Files from outside, let fall on the middle of the page. A text is the name of an empty file."""
    files = [
        {"name": path, "data": []} if isinstance(path, str) else {"name": path.name, "data": list(path.read_bytes())}
        for path in paths
    ]
    page.evaluate(
        """files => {
             const carried = new DataTransfer();
             for (const file of files) carried.items.add(new File([new Uint8Array(file.data)], file.name));
             const target = document.elementFromPoint(innerWidth / 2, innerHeight / 2) ?? document.body;
             for (const type of ["dragenter", "dragover", "drop"]) target.dispatchEvent(
               new DragEvent(type, {dataTransfer: carried, bubbles: true, cancelable: true})) }""",
        files,
    )


def test_controls_appear_only_if_the_server_accepts_audio(
    page: Page, server: ServerThread, stub: IngestStub, open_page: Open
) -> None:
    server.publish(make_frame(0))
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#send-controls")).to_be_hidden()
    drop(page, "song.mp3")
    expect(page.locator("#sources")).to_be_hidden()
    other = open_page(stub.address).page
    expect(other.get_by_role("button", name="Tag my microphone")).to_be_visible()
    expect(other.get_by_role("button", name="Tag a file")).to_be_visible()
    expect(other.locator("#empty-text")).to_contain_text("drop a file anywhere")


@pytest.mark.parametrize("rate", [44100, 16000])
def test_a_chosen_file_arrives_unchanged(stub: IngestStub, stub_page: Page, tmp_path: Path, rate: int) -> None:
    left, right = make_sound(1, 4, rate), make_sound(2, 4, rate)
    stub_page.locator("#files").set_input_files(write_wav(tmp_path / "song.wav", np.stack([left, right], 1), rate))
    connection = stub.wait_for(1)
    assert connection.closed.wait(20)
    assert connection.sent_end
    assert (connection.name, connection.query["format"], connection.query["channels"]) == ("song.wav", "s16le", "1")
    assert len(connection.sound) == pytest.approx(4 * connection.rate, abs=0.02 * connection.rate)
    received = connection.sound[: 3 * connection.rate]
    mean = np.interp(np.arange(4 * connection.rate) / connection.rate, np.arange(len(left)) / rate, (left + right) / 2)
    assert correlation(received, mean) > 0.99
    assert abs(correlation(received, make_sound(3, 4, connection.rate))) < 0.3  # another sound


def test_the_summary_is_shown_at_the_end(stub: IngestStub, stub_page: Page, tmp_path: Path) -> None:
    stub.publish(make_frame(0, "radio", harp=0.9))
    expect(stub_page).to_have_title("radio · streamtag")
    drop(stub_page, write_wav(tmp_path / "evening ride.wav", make_sound(1, 3)))
    expect(stub_page).to_have_title("evening ride.wav · streamtag")
    expect(stub_page.locator("#stream")).to_have_value("stream evening ride.wav")
    row = sources(stub_page)
    expect(row.locator(".title")).to_have_text("evening ride.wav")
    expect(row.locator(".words")).to_have_text(
        re.compile(r"^0:03, tagged in [\d.]+ s · guitar 0.81, drums 0.40, piano 0.12$")
    )
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    expect(stub_page.locator("#present-title")).to_have_text("Present in the whole stream")
    row.get_by_role("button", name="Dismiss").click()
    expect(stub_page.locator("#sources")).to_be_hidden()
    assert stub_page.evaluate("document.activeElement.id") == "tag-files"


def test_several_files_go_one_after_another(stub: IngestStub, stub_page: Page, tmp_path: Path) -> None:
    drop(stub_page, *(write_wav(tmp_path / f"{name}.wav", make_sound(seed, 2)) for seed, name in enumerate("abc")))
    connections = [stub.wait_for(count) for count in (1, 2, 3)]
    assert all(connection.closed.wait(20) for connection in connections)
    assert [connection.name for connection in connections] == ["a.wav", "b.wav", "c.wav"]
    assert correlation(connections[1].sound[:80000], make_sound(1, 2)) > 0.99
    expect(sources(stub_page).filter(has_text="tagged in")).to_have_count(3)
    expect(stub_page).to_have_title("c.wav · streamtag")


def test_a_slow_server_is_awaited_and_the_file_can_be_cancelled(
    stub: IngestStub, open_page: Open, tmp_path: Path
) -> None:
    page = open_page(stub.address, lambda page: page.add_init_script(WATCH_THE_SOCKETS)).page
    stub.reading.clear()
    page.locator("#files").set_input_files(write_wav(tmp_path / "long.wav", make_sound(1, 120)))
    connection = stub.wait_for(1)
    wait_until(page, lambda: page.evaluate("window.sentBytes") > 1e6)
    page.wait_for_timeout(500)
    assert page.evaluate("window.sentBytes") <= 2 * 44100 * 20.2  # of 120 s: no more ahead than that
    assert page.evaluate("window.most") < 2**18 + 25000
    stub.hold_after = 3_000_000
    stub.reading.set()
    stub.wait_until(lambda: len(connection.pcm) >= 3_000_000)
    expect(words(page)).to_have_text(re.compile(r"^\d:\d\d of 2:00( · \d+ × real time)?$"))
    page.get_by_role("button", name="Cancel: long.wav").click()
    stub.reading.set()
    expect(words(page)).to_contain_text("stopped after")
    assert connection.closed.wait(10)
    assert connection.sent_end
    assert len(connection.pcm) < 3_000_000 + 2 * 44100 * 21


def test_a_disconnection_loses_nothing_of_a_file(stub: IngestStub, open_page: Open, tmp_path: Path) -> None:
    opened = open_page(stub.address)
    opened.page.locator("#files").set_input_files(write_wav(tmp_path / "long.wav", make_sound(1, 60)))
    first = stub.wait_for(1)
    stub.wait_until(lambda: len(first.pcm) > 1e6)
    stub.cut()
    second = stub.wait_for(2)
    assert second.closed.wait(30)
    at = int(second.query["position"])
    assert 0 < at <= len(first.sound)
    assert second.name == first.name
    assert at + len(second.sound) == 60 * 44100
    whole = np.concatenate([first.sound[:at], second.sound])
    assert correlation(whole, make_sound(1, 60)) > 0.99
    opened.ignore_complaints()


def test_invalid_files_are_explained_and_skipped(stub: IngestStub, stub_page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no sound at all\n" * 1000)
    cut = write_wav(tmp_path / "cut.wav", make_sound(1, 2))
    cut.write_bytes(cut.read_bytes()[:30])
    drop(stub_page, "empty.mp3", tmp_path / "notes.txt", cut, write_wav(tmp_path / "good.wav", make_sound(1, 1)))
    expect(sources(stub_page).last.locator(".words")).to_contain_text("tagged in")
    expect(sources(stub_page).first.locator(".words")).to_have_text("The file is empty.")
    for row in sources(stub_page).all()[1:3]:
        expect(row.locator(".words")).to_have_text(re.compile("^This browser can decode no sound in it"))
        expect(row).to_have_attribute("data-phase", "failed")
    assert [connection.name for connection in stub.connections] == ["good.wav"]


def test_a_file_that_is_too_long_is_not_decoded(stub_page: Page, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "day.wav"), "wb") as file:
        file.setparams((1, 1, 4000, 0, "NONE", ""))
        file.writeframes(b"\x80" * 4000 * 4 * 3600)
    stub_page.locator("#files").set_input_files(tmp_path / "day.wav")
    expect(words(stub_page)).to_have_text(
        "4:00:00 is too much for a browser to decode at once. The command “streamtag file” reads it."
    )


@pytest.mark.parametrize("width", [320, 820])
def test_sender_rows_fit_the_screen(stub: IngestStub, open_page: Open, tmp_path: Path, width: int) -> None:
    opened = open_page(stub.address, viewport={"width": width, "height": 800})
    page = opened.page
    long = write_wav(tmp_path / f"{'unpronounceable' * 9}.wav", make_sound(1, 1))
    page.locator("#files").set_input_files(long)
    expect(words(page)).to_contain_text("tagged in")
    stub.refusals = [HTTPStatus.UNAUTHORIZED]
    page.locator("#files").set_input_files(long)
    expect(page.get_by_label("Token for sending sound")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("#send-controls button, #sources button:visible, #key-word").all():
        place = box(button)
        assert 0 <= place["x"] <= place["x"] + place["width"] <= width
        assert place["height"] >= 24  # for a finger
    opened.ignore_complaints()


NAMES = {
    "<img src=x onerror=document.title='hurt'>.wav": "<img src=x onerror=document.title='hurt'>.wav",
    "../../etc/passwd": ".. .. etc passwd",
    "..": "file",
    "  a\x00b\u202ec\u2028d/é?#&%2F.wav  ": "a b c d é?#&%2F.wav",
    "e\u0301\U0001f3b5.wav": "é\U0001f3b5.wav",
    "\ud800\ud800.wav": ".wav",
    "x" * 300: "x" * 64,
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_hostile_file_names_become_valid_stream_names(
    stub: IngestStub, stub_page: Page, tmp_path: Path, name: str
) -> None:
    data = list(write_wav(tmp_path / "x.wav", make_sound(1, 1)).read_bytes())
    stub_page.evaluate(
        """([codes, data]) => {
             const carried = new DataTransfer(), name = String.fromCharCode(...codes);
             const file = new File([new Uint8Array(data)], "x");
             Object.defineProperty(file, "name", {value: name});
             const event = new Event("drop", {bubbles: true, cancelable: true});
             event.dataTransfer = {types: ["Files"], items: [], files: [file]};
             document.body.dispatchEvent(event) }""",
        [np.frombuffer(name.encode("utf-16-le", "surrogatepass"), "<u2").tolist(), data],
    )
    connection = stub.wait_for(1)
    assert connection.closed.wait(10)
    assert connection.name == NAMES[name]
    assert connection.name.isprintable()
    assert connection.name == connection.name.strip()
    expect(sources(stub_page).locator(".title")).to_have_text(NAMES[name])
    expect(sources(stub_page).locator("img")).to_have_count(0)
