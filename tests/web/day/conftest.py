"""The Day view of a server with a history of two days, at a fixed time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, Open, Start, box
from tests.web.scenes import CONCEPTS
from tests.web.stored import HOUR_MS, NOW, SESSIONS, ZONE, write_history

OpenDay = Callable[..., Page]
HOUR_AGO_MS = round(HOUR_MS * (SESSIONS[0][1] - 1))  # in the first session
HALL = "hall with a rather long name"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "history.db"
    write_history(path, CONCEPTS)
    return path


@pytest.fixture
def server(start: Start, path: Path) -> ServerThread:
    return start(hello=replace(HELLO, concepts=CONCEPTS), history=path)


@pytest.fixture
def open_day(server: ServerThread, open_page: Open) -> OpenDay:
    """open_day("stream=bar", server=..., **options of a context) -> the page at NOW.

    The server is requested first, so that it outlives the page: a request may be under way at the end.
    """

    def open_day(query: str = "", server: ServerThread = server, **options: Any) -> Page:
        set_clock: Callable[[Page], None] = lambda page: page.clock.set_fixed_time(NOW)  # noqa: E731
        address = f"{server.address}?view=day&{query}"
        page = open_page(address, set_clock, **{"timezone_id": ZONE, **options}).page
        expect(page.locator("#day-view")).to_be_visible()
        return page

    return open_day


def local(at: float) -> str:
    """Day and time, as in "27 20:21"."""
    return datetime.fromtimestamp(at, ZoneInfo(ZONE)).strftime("%d %H:%M")


def shown(page: Page) -> dict[str, str]:
    """What the address says."""
    return {name: value for name, (value,) in parse_qs(urlsplit(page.url).query).items() if name != "view"}


def rows(page: Page, stream: str) -> list[tuple[str, str]]:
    section = page.locator(f".day-section[data-stream='{stream}']")
    names = section.locator(".day-row th").all_inner_texts()
    return list(zip(names, section.locator(".day-row td").all_inner_texts(), strict=True))


def click_at(page: Page, stream: str, part: float, times: int = 1) -> None:
    """Click in the picture of a stream."""
    canvas = page.locator(f".day-section[data-stream='{stream}'] canvas")
    canvas.click(position={"x": part * box(canvas)["width"], "y": 5}, click_count=times)


def colours(page: Page, stream: str, part: float) -> list[list[int]]:
    """The colours of a column of its picture, each once."""
    script = """(canvas, part) => { const found = new Set(), copy = document.createElement("canvas");
      Object.assign(copy, {width: canvas.width, height: canvas.height});
      const pen = copy.getContext("2d", {willReadFrequently: true});
      pen.drawImage(canvas, 0, 0);
      const data = pen.getImageData(Math.floor(part * canvas.width), 0, 1, canvas.height).data;
      for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) found.add(data.slice(at, at + 3).join());
      return [...found].map(text => text.split(",").map(Number)) }"""
    found: list[list[int]] = page.locator(f".day-section[data-stream='{stream}'] canvas").evaluate(script, part)
    return found
