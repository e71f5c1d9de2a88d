"""What a page that comes late shows: the recent past that the server tells, and what is present."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from playwright.sync_api import Page, TimeoutError, WebSocketRoute, expect

from streamtag.protocol.messages import Event, Gap, Hello, History, Message
from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, TAGS, Open, make_frame, mocked, present
from tests.web.test_bars import names, row
from tests.web.test_concepts import CONCEPTS
from tests.web.test_history import HOP_S, pixel

FRAMES = 40
OpenTold = Callable[..., tuple[Page, list[WebSocketRoute]]]


def make_history(last: int, **columns: list[float]) -> History:
    """Of FRAMES frames up to number `last`; tags that are not in columns are 0.02."""
    times = tuple(HOP_S * number for number in range(last - FRAMES + 1, last + 1))
    tags = {tag: tuple(columns.get(tag, [0.02] * FRAMES)) for tag in TAGS}
    return History("mic", times, tags, {})


@pytest.fixture
def open_told(server: ServerThread, open_page: Open) -> OpenTold:
    """open_told(*messages, hello=HELLO) -> a page whose server says these messages to every connection."""

    def open_told(*messages: Message, hello: Hello = HELLO) -> tuple[Page, list[WebSocketRoute]]:
        sockets: list[WebSocketRoute] = []

        def handle(route: WebSocketRoute) -> None:
            sockets.append(route)
            for message in (hello, *messages):
                route.send(message.to_json())

        return open_page(server.address, mocked(handle)).page, sockets

    return open_told


def test_the_recent_past_is_drawn_at_once(open_told: OpenTold) -> None:
    history = make_history(139, guitar=[0.9] * 20 + [0.1] * 20, drums=[0.05] * 40)
    events = (Event("mic", "guitar", "off", 120 * HOP_S), Event("mic", "piano", "on", 130 * HOP_S))
    told = replace(history, present=("piano", "harp"), events=events, gaps=(Gap("mic", 27.0, 0.5),))
    page, sockets = open_told(told, make_frame(139, guitar=0.1))
    expect(page.locator("#frames")).to_have_text("40")  # the newest frame is in it
    expect(page.locator("#state")).to_have_text("live")
    expect(present(page)).to_have_text(["piano", "harp"])
    expect(page.locator("#gaps")).to_have_text("1 (0.5 s lost)")
    start = 100 * HOP_S - HOP_S / 2
    early, late = pixel(page, "guitar", 26.5, start=start), pixel(page, "guitar", 33, start=start)
    assert early[3] == late[3] == 255
    assert early != late
    feet = {
        tag: [pixel(page, tag, time, height=0.98, start=start)[3] for time in (26.5, 32, 35)]
        for tag in ("guitar", "piano", "harp", "drums")
    }
    assert feet == {"guitar": [255, 0, 0], "piano": [0, 0, 255], "harp": [255, 255, 255], "drums": [0, 0, 0]}
    sockets[-1].send(Event("mic", "harp", "off", 140 * HOP_S).to_json())
    sockets[-1].send(make_frame(140).to_json())
    expect(page.locator("#frames")).to_have_text("41")
    expect(present(page)).to_have_text(["piano"])


def test_a_reconnection_fills_the_hole(open_told: OpenTold) -> None:
    page, sockets = open_told(make_history(139, guitar=[0.9] * 40))
    expect(page.locator("#frames")).to_have_text("40")
    for number in (140, 141):
        sockets[0].send(make_frame(number, guitar=0.9).to_json())
    expect(page.locator("#frames")).to_have_text("42")
    sockets[0].close()
    with suppress(TimeoutError):  # the page may connect again by itself
        page.locator("#retry").click(timeout=3000)
    expect(page.locator("#retry")).to_be_hidden()
    sockets[-1].send(make_history(160, guitar=[0.9] * 40).to_json())
    sockets[-1].send(make_frame(160, guitar=0.9).to_json())
    expect(page.locator("#frames")).to_have_text("61")
    sockets[-1].send(make_history(45, guitar=[0.9] * 40).to_json())  # of another run of the stream
    expect(page.locator("#frames")).to_have_text("40")


def test_without_a_history_the_threshold_decides_until_an_event(
    open_told: OpenTold,
) -> None:
    page, sockets = open_told(make_frame(40, guitar=0.9, harp=0.2))
    expect(present(page)).to_have_text(["guitar", "harp"])  # harp's threshold is 0.1
    sockets[0].send(make_frame(41, guitar=0.9, drums=0.6).to_json())
    expect(present(page)).to_have_text(["guitar", "drums"])
    sockets[0].send(Event("mic", "guitar", "off", 41 * HOP_S).to_json())
    sockets[0].send(make_frame(42, guitar=0.9, drums=0.6).to_json())
    expect(page.locator("#frames")).to_have_text("3")
    expect(present(page)).to_have_text(["drums"])


def test_a_history_of_concepts_groups_rows_by_what_matters(
    open_told: OpenTold,
) -> None:
    concepts = {"strings": (0.3,) * FRAMES, "drums": (0.6,) * FRAMES, "odd": (0.9,) * FRAMES}
    told = replace(make_history(60), concepts=concepts, present=("strings",))
    page, _ = open_told(told, hello=replace(HELLO, concepts=CONCEPTS))
    expect(present(page)).to_have_text(["strings"])
    expect(page.locator("#rows .tag")).to_have_text(["strings", "drums", "odd"])  # what is present comes first
    assert names(page) == ["strings", "drums", "odd"]
    expect(row(page, "drums")).not_to_have_class(re.compile(r"\bon\b"))  # strong, but the server says it is off
