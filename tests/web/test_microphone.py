"""The page's microphone: Chromium's own test device, which plays a file into it, in an endless loop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Need
from tests.wav import write_wav
from tests.web.conftest import Open, running_browser, sources, words
from tests.web.ingest_stub import IngestStub
from tests.web.sound import Sound, correlation, make_sound

pytestmark = pytest.mark.slow

RATE = 44100
SECONDS = 20
SEED = 7
ELSEWHERE = "tagger.example"  # leads here, but the browser does not know that it is this machine


@pytest.fixture(scope="module")
def browser(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    wav = write_wav(tmp_path_factory.mktemp("microphone") / "played.wav", make_sound(SEED, SECONDS, RATE), RATE)
    flags = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={wav}")
    resolve = f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"
    with running_browser(need, "--use-fake-ui-for-media-stream", resolve, *flags) as running:
        yield running


def played(rate: int, seed: int = SEED) -> Sound:
    """What the device plays, twice over, at a stream's rate."""
    twice = np.tile(make_sound(seed, SECONDS, RATE), 2)
    return np.interp(np.arange(2 * SECONDS * rate) / rate, np.arange(len(twice)) / RATE, twice)


def start(page: Page) -> None:
    page.get_by_role("button", name="Tag my microphone").click()


def test_the_microphone_is_sent_unchanged(stub_page: Page, stub: IngestStub) -> None:
    start(stub_page)
    connection = stub.wait_for(1)
    described = [connection.query[name] for name in ("format", "channels", "position")]
    assert [connection.name, *described] == ["mic", "s16le", "1", "0"]
    stub.wait_until(lambda: len(connection.sound) > 4 * connection.rate)
    stub_page.get_by_role("button", name="Stop: mic").click()
    assert connection.closed.wait(10)
    assert connection.sent_end
    assert connection.rate == stub_page.evaluate("new AudioContext().sampleRate")
    received = connection.sound[connection.rate : 4 * connection.rate]
    assert correlation(received, played(connection.rate)) > 0.95
    assert correlation(received, played(connection.rate, SEED + 1)) < 0.3
    assert len(connection.sound) / connection.messages == pytest.approx(connection.rate / 10, rel=0.01)
    expect(words(stub_page)).to_have_text(re.compile(r"^stopped after 0:0\d · guitar 0.81, drums 0.40, piano 0.12$"))
    expect(stub_page).to_have_title("mic · streamtag")


WATCH_THE_MICROPHONE = """
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = constraints => (window.constraints = constraints, ask(constraints).then(media =>
    (window.track = media.getAudioTracks()[0], media)))"""


def test_browser_processing_is_off_and_a_removed_microphone_ends_its_stream(stub: IngestStub, open_page: Open) -> None:
    page = open_page(stub.address, lambda page: page.add_init_script(WATCH_THE_MICROPHONE)).page
    start(page)
    connection = stub.wait_for(1)
    for settings in ("constraints.audio", "track.getSettings()"):
        for name in ("echoCancellation", "autoGainControl", "noiseSuppression"):
            assert page.evaluate(f"{settings}.{name}") is False
    stub.wait_until(lambda: len(connection.sound) > connection.rate)
    page.evaluate("track.dispatchEvent(new Event('ended'))")
    expect(words(page)).to_contain_text("The microphone was taken away. stopped after 0:0")
    assert connection.sent_end


def test_the_level_moves_and_the_time_runs(stub_page: Page, stub: IngestStub) -> None:
    start(stub_page)
    stub.wait_for(1)
    meter = sources(stub_page).get_by_role("meter")
    expect(meter).to_have_attribute("aria-valuetext", re.compile(r"^-(9|1\d) dB$"))
    expect(words(stub_page)).to_have_text(re.compile("^0:0[2-9]"))
    assert sources(stub_page).locator(".level").evaluate("level => level.getBoundingClientRect().width") > 30
    sources(stub_page).get_by_role("button", name="Stop").click()
    expect(meter).to_have_attribute("aria-valuetext", "none")


def test_a_short_disconnection_loses_no_audio(stub: IngestStub, open_page: Open) -> None:
    opened = open_page(stub.address)
    start(opened.page)
    first = stub.wait_for(1)
    stub.wait_until(lambda: len(first.sound) > 2 * first.rate)
    stub.cut()
    second = stub.wait_for(2)
    stub.wait_until(lambda: len(second.sound) > 3 * second.rate)
    at = int(second.query["position"])
    assert second.name == first.name
    assert 0 < at <= len(first.sound)
    whole = np.concatenate([first.sound[:at], second.sound])
    assert correlation(whole[first.rate :], played(first.rate)) > 0.95  # in one piece
    half = first.rate  # of a join with half a second missing, as long before it as after it
    cut = np.concatenate([first.sound[at - half : at], second.sound[half // 2 :][:half]])
    assert correlation(cut, played(first.rate)) < 0.9
    opened.ignore_complaints()


def test_a_long_disconnection_starts_a_new_stream(stub: IngestStub, open_page: Open) -> None:
    opened = open_page(stub.address)
    page = opened.page
    start(page)
    first = stub.wait_for(1)
    stub.wait_until(lambda: len(first.sound) > first.rate)
    page.evaluate(
        "const was = performance.now.bind(performance); window.on = 0; performance.now = () => was() + window.on"
    )
    stub.refusals = [HTTPStatus.INTERNAL_SERVER_ERROR] * 9
    stub.cut()
    expect(sources(page)).to_have_attribute("data-phase", "away")
    page.evaluate("window.on = 11000")
    stub.refusals = []
    second = stub.wait_for(2)
    assert second.query["position"] == "0"
    expect(sources(page)).to_have_attribute("data-phase", "live")
    opened.ignore_complaints()


def test_a_browser_pause_becomes_a_gap(stub: IngestStub, open_page: Open) -> None:
    """As during a call on a phone. The page asks to go on at once, and is let after a second and a half."""
    opened = open_page(
        stub.address,
        lambda page: page.add_init_script(
            """window.AudioContext = class extends AudioContext {
                 constructor(...wishes) { super(...wishes); window.audio = this }
                 resume() {
                   const go = done => setTimeout(() => super.resume().then(done), window.pause ?? 0);
                   return new Promise(go) } }"""
        ),
    )
    page = opened.page
    start(page)
    first = stub.wait_for(1)
    stub.wait_until(lambda: len(first.sound) > 2 * first.rate)
    page.evaluate("window.pause = 1500; audio.suspend()")
    second = stub.wait_for(2)
    lost_s = (int(second.query["position"]) - len(first.sound)) / first.rate
    assert lost_s == pytest.approx(1.5, abs=0.4)
    stub.wait_until(lambda: len(second.sound) > first.rate)
    expect(words(page)).not_to_contain_text("paused the microphone")


def test_leaving_the_page_ends_the_stream(stub_page: Page, stub: IngestStub) -> None:
    start(stub_page)
    connection = stub.wait_for(1)
    stub.wait_until(lambda: len(connection.sound) > connection.rate)
    stub_page.goto("about:blank")
    assert connection.closed.wait(10)
    assert connection.sent_end


DENIED = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{}'))"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("NotAllowedError", "The microphone was not allowed."),
        ("NotFoundError", "There is no microphone on this device."),
        ("AbortError", "The microphone cannot be opened"),
    ],
)
def test_a_missing_microphone_is_explained(stub: IngestStub, open_page: Open, error: str, reason: str) -> None:
    page = open_page(stub.address, lambda page: page.add_init_script(DENIED.format(error))).page
    start(page)
    expect(words(page)).to_contain_text(reason)
    expect(sources(page)).to_have_attribute("data-phase", "failed")
    assert stub.connections == []


def test_plain_http_from_another_machine_is_explained(stub: IngestStub, open_page: Open) -> None:
    page = open_page(stub.address.replace("127.0.0.1", ELSEWHERE)).page
    assert page.evaluate("isSecureContext") is False
    start(page)
    expect(words(page)).to_contain_text("over https (streamtag serve --tls-cert)")
    assert stub.connections == []
