"""The states of the page that people meet, each the same every time: for accessibility checks and renderings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, WebSocketRoute, expect

from streamtag.protocol.messages import Concept, End, Event, Frame, Gap
from tests.wav import write_wav
from tests.web.conftest import HELLO, Open, Start, StartStub, make_frame
from tests.web.ingest_stub import HOP
from tests.web.sound import make_sound
from tests.web.stored import HOUR_S, NOW, ZONE, write_history

CONCEPTS = (
    Concept("guitar", "instrument", ("guitar",), 0.47),
    Concept("drums", "instrument", ("drums",), 0.24),
    Concept("strings", "instrument", ("other a", "other b"), 0.24),
    Concept("harp", "instrument", ("harp",), None),
    Concept("techno", "genre", ("other c",), 0.25),
    Concept("electronic", "genre", ("other d",), 0.26),
    Concept("classical", "genre", ("other e",), 0.27),
    Concept("no vocals", "voice", ("other f",), 0.18),
    Concept("male vocals", "voice", ("male vocal",), 0.32),
    Concept("fast", "mood", ("other g",), 0.24),
    Concept("slow", "mood", ("other h",), 0.26),
)
LOUD = {"guitar": 0.81, "drums": 0.63, "techno": 0.55, "electronic": 0.42, "no vocals": 0.38, "fast": 0.29}
SOFT = {"strings": 0.72, "harp": 0.5, "classical": 0.66, "no vocals": 0.3, "slow": 0.44}
FRAMES = 75
TURN = 40  # the frame from which on it is loud
FILE_S = 12.0


def frame(number: int, stream: str = "evening ride", **_: Any) -> Frame:
    values = LOUD if number % (2 * TURN) >= TURN else SOFT
    concepts = {concept.name: values.get(concept.name, 0.06) for concept in CONCEPTS}
    return replace(make_frame(number, stream), concepts=concepts, latency_s=0.45)


def events(stream: str, turn: int = TURN) -> list[Event]:
    """What turns on at the start and at the turn, as far as it has a threshold."""
    known = {concept.name for concept in CONCEPTS if concept.threshold is not None}
    told = [Event(stream, name, "on", 0.0, name) for name in SOFT if name in known]
    told += [Event(stream, name, "off", turn * HOP, name) for name in SOFT if name in known and name not in LOUD]
    return told + [Event(stream, name, "on", turn * HOP, name) for name in LOUD if name not in SOFT]


@dataclass(frozen=True)
class Stage:
    """What a scene is set up with: fixtures of the tests."""

    start: Start
    start_stub: StartStub
    open_page: Open
    folder: Path

    def show(self, scene: str, **options: Any) -> Page:
        """Return a page in that state. Its clock stands still. options: of the browser's context."""
        return SCENES[scene](self, {"reduced_motion": "reduce"} | options)

    def open(
        self, address: str, options: dict[str, Any], handler: Callable[[WebSocketRoute], None] | None = None
    ) -> Page:
        def before(page: Page) -> None:
            page.add_init_script("performance.now = () => 1000")  # ms
            if handler is not None:
                page.route_web_socket(re.compile("^ws:"), handler)

        return self.open_page(address, before, wait=handler is None, **options).page


def rank_again(page: Page) -> None:
    """Bring the rows into the order of now, at once."""
    for words in ("x", ""):
        page.locator("#filter").fill(words)
    expect(page.locator("#rows .tag")).to_have_count(len(CONCEPTS))
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def one_stream(stage: Stage, options: dict[str, Any]) -> Page:
    server = stage.start(hello=replace(HELLO, concepts=CONCEPTS))
    page = stage.open(server.address, options)
    for number in range(FRAMES):
        server.publish(frame(number))
    for event in events("evening ride"):
        server.publish(event)
    server.publish(Gap("evening ride", 15.0, 0.7))
    expect(page.locator("#frames")).to_have_text(str(FRAMES))
    expect(page.locator("#gaps")).to_have_text("1 (0.7 s lost)")
    page.locator("#count").select_option("15")
    rank_again(page)
    return page


def all_streams(stage: Stage, options: dict[str, Any]) -> Page:
    server = stage.start(hello=replace(HELLO, concepts=CONCEPTS))
    page = stage.open(server.address, options)
    names = ("bar", "hall 1", "hall 2", "roof", "a radio station with a rather long name, Berlin", "cellar")
    for name in names:
        for number in range(45):
            server.publish(frame(number, name))
        for event in events(name):
            server.publish(event)
    server.publish(Gap("roof", 5.0, 2.5))
    server.publish(End("cellar", 11.4, 45, {}, present_s={"guitar": 9.0, "techno": 5.0, "no vocals": 11.0}))
    expect(page.locator("#present-title")).to_have_text("6 streams: 5 live, 1 ended, 1 with losses")
    expect(page.locator(".card-words:not(:empty)")).to_have_count(len(names))
    return page


def file_played(stage: Stage, options: dict[str, Any]) -> Page:
    stub = stage.start_stub(hello=replace(HELLO, concepts=CONCEPTS), make_frame=frame)
    page = stage.open(stub.address, options)
    sound = write_wav(stage.folder / "evening ride.wav", make_sound(1, FILE_S, 16000), 16000)
    page.locator("#files").set_input_files(sound)
    expect(page.locator("#source-list .words")).to_contain_text("tagged in")
    for event in events("evening ride.wav"):
        stub.publish(event)
    page.locator("#time").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#position")).to_have_text("0:05 / 0:12")
    page.locator("#count").select_option("15")
    rank_again(page)
    return page


def no_connection(stage: Stage, options: dict[str, Any]) -> Page:
    page = stage.open(stage.start().address, options, lambda route: route.close(code=1011, reason="no tags today"))
    expect(page.locator("#state")).to_have_text(re.compile("retry in"))
    expect(page.locator("#notice")).to_have_text("The server closed the connection: no tags today.")
    return page


def nothing_plays(stage: Stage, options: dict[str, Any]) -> Page:
    page = stage.open(stage.start_stub(hello=replace(HELLO, concepts=CONCEPTS)).address, options)
    expect(page.locator("#empty-title")).to_have_text("Waiting for a stream")
    expect(page.locator("#empty-text")).to_contain_text("Tag your microphone or a file")
    return page


def notes(stage: Stage, options: dict[str, Any]) -> Page:
    page = nothing_plays(stage, options)
    page.keyboard.press("?")
    expect(page.locator("#notes")).to_be_visible()
    return page


def day(stage: Stage, options: dict[str, Any]) -> Page:
    """The last 24 hours of all streams."""
    return open_day(stage, options, "view=day")


def hour(stage: Stage, options: dict[str, Any]) -> Page:
    """An hour of one stream, and a moment in it."""
    from_at = NOW // HOUR_S * HOUR_S - HOUR_S
    query = f"view=day&stream=bar&from={from_at:.0f}&to={from_at + HOUR_S:.0f}&at={from_at + 1205:.0f}"
    page = open_day(stage, options, query)
    expect(page.locator("#moment-list dd")).to_have_text("guitar, techno, no vocals")
    return page


def open_day(stage: Stage, options: dict[str, Any], query: str) -> Page:
    path = stage.folder / "history.db"
    write_history(path, CONCEPTS)
    server = stage.start(hello=replace(HELLO, concepts=CONCEPTS), history=path)

    def before(page: Page) -> None:
        page.clock.set_fixed_time(NOW)
        page.add_init_script("performance.now = () => 1000")

    page = stage.open_page(f"{server.address}?{query}", before, timezone_id=ZONE, **options).page
    expect(page.locator("#day-view")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#day")).to_be_visible()
    return page


SCENES: dict[str, Callable[[Stage, dict[str, Any]], Page]] = {
    "one stream": one_stream,
    "all streams": all_streams,
    "a file is played": file_played,
    "no connection": no_connection,
    "nothing plays": nothing_plays,
    "notes": notes,
    "day": day,
    "hour": hour,
}
