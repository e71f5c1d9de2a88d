"""A real browser that shows the real page of a real server, and watches what it does behind the scenes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    FloatRect,
    Locator,
    Page,
    WebSocket,
    WebSocketRoute,
    expect,
    sync_playwright,
)

from streamtag.protocol.messages import Frame, Hello
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.conftest import Need
from tests.web.ingest_stub import IngestStub

if TYPE_CHECKING:
    from tests.web.scenes import Stage

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),  # tests run as root in containers
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
TAGS = ("guitar", "drums", "piano", "male vocal", "harp", *(f"other {letter}" for letter in "abcdefghijklmno"))
THRESHOLDS = tuple(0.1 if tag == "harp" else 0.5 for tag in TAGS)
HELLO = Hello("streamtag 0.1.0", "a small model", TAGS, 16000, 0.256, 0.512, 0.384, THRESHOLDS)

expect.set_options(timeout=15_000)


class Opened:
    """A page, its sockets, and complaints on its console, errors and requests to other places, which fail the test."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.sockets: list[str] = []
        self._own = (address, address.replace("http", "ws", 1), "data:", f"blob:{address}")
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", lambda request: self._check(request.url))
        page.on("websocket", self._socket)

    def ignore_complaints(self) -> list[str]:
        """Return the complaints so far, which count no more."""
        if not self.page.is_closed():
            self.page.wait_for_timeout(1)  # let pending console messages arrive
        complaints, self.complaints = self.complaints, []
        return complaints

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        self._check(socket.url)

    def _check(self, url: str) -> None:
        if not url.startswith(self._own):
            self.complaints.append(f"request: {url}")


Open = Callable[..., Opened]
Start = Callable[..., ServerThread]
StartStub = Callable[..., IngestStub]


def make_frame(number: int, stream: str = "mic", **others: Any) -> Frame:
    """Of HELLO's tags. others: tags by name, "_" for a space, all else 0.02; latency_s and dropped as in a Frame."""
    about = {name: others.pop(name) for name in ("latency_s", "dropped") if name in others}
    told = {name.replace("_", " "): value for name, value in others.items()}
    assert set(told) <= set(TAGS)
    start = 0.256 * number - 0.256
    return Frame(stream, number, start, start + 0.512, {tag: told.get(tag, 0.02) for tag in TAGS}, **about)


def mocked(handler: Callable[[WebSocketRoute], None]) -> Callable[[Page], None]:
    """For open_page(before=): the page's sockets end here and not at the server."""
    return lambda page: page.route_web_socket(re.compile("^ws:"), handler)


def play(server: ServerThread, page: Page, first: int, count: int, **tags: float) -> None:
    """Publish frames that the page has shown when this returns."""
    shown = int(page.locator("#frames").inner_text().replace(",", ""))
    for number in range(first, first + count):
        server.publish(make_frame(number, "mic", **tags))
    expect(page.locator("#frames")).to_have_text(f"{shown + count:,}")


def present(page: Page) -> Locator:
    """Return the names in the headline."""
    return page.locator("#present .one")


def value_of(page: Page, tag: str) -> Locator:
    """Return the number beside a tag's bar."""
    return page.locator(f"#rows > li[data-tag='{tag}'] .value")


def sources(page: Page) -> Locator:
    """Return the rows of what the page sends."""
    return page.locator("#source-list > li")


def words(page: Page) -> Locator:
    """Return what these rows say."""
    return sources(page).locator(".words")


def box(place: Locator) -> FloatRect:
    """Return where something is that is shown."""
    found = place.bounding_box()
    assert found is not None
    return found


def wait_until(page: Page, is_true: Callable[[], bool]) -> None:
    for _ in range(400):
        if is_true():
            return
        page.wait_for_timeout(25)
    raise AssertionError("it did not come true within 10 s")


def settle(page: Page) -> None:
    """Until nothing moves any more."""
    page.evaluate("Promise.allSettled(document.getAnimations().map(moving => moving.finished))")


def reload(page: Page) -> None:
    """With all that it is to remember: the browser writes that a little later, and tells nobody when."""
    page.wait_for_timeout(2500)
    page.reload()


@contextmanager
def running_browser(need: Need, *flags: str) -> Iterator[Browser]:
    """Chromium without a window; with flags, for devices, the whole browser rather than the lighter shell."""
    names = (*NAMES[1:], NAMES[0]) if flags else NAMES
    found = next(filter(None, map(shutil.which, names)), None)
    need("browser", found is not None, "needs Chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=[*FLAGS, *flags])
        yield running
        running.close()


@pytest.fixture(scope="module")  # no wider: while it lives, no other test of this thread can run an event loop
def browser(need: Need) -> Iterator[Browser]:
    with running_browser(need) as running:
        yield running


@pytest.fixture
def start() -> Iterator[Start]:
    """start(port=0, hello=HELLO, **ServeSpec's fields) -> a server that runs until the test ends."""
    with ExitStack() as stack:

        def start(port: int = 0, hello: Hello = HELLO, **fields: Any) -> ServerThread:
            return stack.enter_context(ServerThread(ServerConfig(port=port, queue_length=4096, **fields), hello))

        yield start


@pytest.fixture
def start_stub(start: Start) -> Iterator[StartStub]:
    """start_stub(**its health's fields) -> a server that accepts audio, with the real page, until the test ends.

    hello, make_frame: what it says, and the frames that each stream gets.
    """
    with ExitStack() as stack:

        def start_stub(
            hello: Hello = HELLO, make_frame: Callable[..., Frame] = make_frame, **health: Any
        ) -> IngestStub:
            return stack.enter_context(IngestStub(hello, start().address, make_frame, **health))

        yield start_stub


@pytest.fixture
def stub(start_stub: StartStub) -> IngestStub:
    return start_stub()


@pytest.fixture
def stub_page(stub: IngestStub, open_page: Open) -> Page:
    return open_page(stub.address).page


@pytest.fixture
def server(start: Start) -> ServerThread:
    return start()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """open_page(address, before=None, wait=True, **options of a context) -> an opened page.

    before(page): done before it loads. wait: until it has received the hello message.
    """
    opened: list[Opened] = []
    with ExitStack() as stack:

        def open_page(
            address: str, before: Callable[[Page], None] | None = None, wait: bool = True, **options: Any
        ) -> Opened:
            context = stack.enter_context(browser.new_context(**options))
            page = context.new_page()
            opened.append(Opened(page, address.partition("?")[0]))
            if before is not None:
                before(page)
            page.goto(address)
            if wait:
                expect(page.locator("#model")).not_to_have_text("–")
            return opened[-1]

        yield open_page
        complaints = [complaint for each in opened for complaint in each.ignore_complaints()]
    assert complaints == []


@pytest.fixture
def stage(start: Start, start_stub: StartStub, open_page: Open, tmp_path: Path) -> Stage:
    """Shows the page in each of its states."""
    from tests.web.scenes import Stage

    return Stage(start, start_stub, open_page, tmp_path)


@pytest.fixture
def page(open_page: Open, server: ServerThread) -> Page:
    """The page of `server`."""
    return open_page(server.address).page
