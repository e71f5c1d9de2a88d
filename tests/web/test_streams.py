"""Which stream is shown, and how the page gets on with its server."""

from __future__ import annotations

import json
import re
from contextlib import suppress

from playwright.sync_api import Page, TimeoutError, WebSocketRoute, expect

from streamtag.protocol.messages import End, Error, History
from streamtag.server.config import ServerConfig
from streamtag.server.thread import ServerThread
from tests.web.conftest import HELLO, Open, Start, make_frame, mocked, play, value_of, wait_until


def end(stream: str) -> End:
    return End(stream, 1.0, 1, {})


def shown(page: Page) -> str:
    return page.title().partition(" · ")[0]


def test_the_newest_live_stream_is_shown(page: Page, server: ServerThread) -> None:
    expect(page.locator("#state")).to_have_text("waiting")
    expect(page.locator("#empty-title")).to_have_text("Waiting for a stream")
    server.publish(make_frame(0, "first"))
    expect(page).to_have_title("first · streamtag")
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#empty")).to_be_hidden()
    server.publish(end("first"))
    expect(page.locator("#state")).to_have_text("ended")
    server.publish(make_frame(0, "second"))
    expect(page).to_have_title("second · streamtag")
    expect(page.locator("#stream option")).to_have_text(
        ["Whatever plays: second", "All 2 streams", "first (ended)", "second"]
    )


def test_a_stream_chosen_from_the_list_or_by_key_stays(page: Page, server: ServerThread) -> None:
    server.publish(make_frame(0, "first", guitar=0.9))
    server.publish(make_frame(0, "second", guitar=0.3))
    expect(page.locator("#stream option")).to_have_count(4)
    page.locator("#stream").select_option("second")
    expect(page).to_have_title("second · streamtag")
    guitar = value_of(page, "guitar")
    expect(guitar).to_have_text("0.30")
    for name in ("first", "second"):
        page.keyboard.press("n")
        expect(page).to_have_title(f"{name} · streamtag")
    server.publish(make_frame(1, "first", guitar=0.8))
    server.publish(end("second"))
    expect(page.locator("#state")).to_have_text("ended")
    assert shown(page) == "second"
    page.keyboard.press("n")
    expect(page).to_have_title("first · streamtag")
    expect(guitar).to_have_text("0.80")


def test_the_address_may_name_a_stream(server: ServerThread, open_page: Open) -> None:
    server.publish(make_frame(0, "loud"))
    page = open_page(f"{server.address}?stream=caf%C3%A9%20%26%20bar").page
    expect(page.locator("#empty-text")).to_have_text("The server has no stream named “café & bar” yet.")
    server.publish(make_frame(0, "café & bar"))
    expect(page).to_have_title("café & bar · streamtag")


def test_a_restarted_stream_replaces_the_old_one(page: Page, server: ServerThread) -> None:
    play(server, page, 0, 10)
    server.publish(make_frame(0))
    expect(page.locator("#frames")).to_have_text("1")
    play(server, page, 1, 1)
    server.publish(end("mic"))
    expect(page.locator("#state")).to_have_text("ended")
    server.publish(make_frame(0))
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#frames")).to_have_text("1")


def test_the_number_of_kept_streams_is_bounded(page: Page, server: ServerThread) -> None:
    server.publish(make_frame(0, "stream 0"))
    expect(page).to_have_title("stream 0 · streamtag")
    page.locator("#stream").select_option("stream 0")
    for number in range(1, 500):
        server.publish(make_frame(0, f"stream {number}"))
    expect(page.locator("#stream option").last).to_have_text("stream 499")
    assert page.locator("#stream option").count() == 2 + 400
    assert shown(page) == "stream 0"  # what is looked at stays


def test_a_stalled_stream_and_errors_are_shown_until_they_end(page: Page, server: ServerThread) -> None:
    page.clock.install()
    play(server, page, 0, 1)
    page.clock.run_for(2000)
    expect(page.locator("#state")).to_have_text("live")
    page.clock.run_for(3000)
    expect(page.locator("#state")).to_have_text("stalled")
    expect(page.locator("#notice")).to_have_text(re.compile(r"^No frame for \d s"))
    server.publish(make_frame(1))
    page.clock.run_for(300)
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#notice")).to_have_text("")
    server.publish(Error("the microphone is gone: trying again", "mic"))
    expect(page.locator("#notice")).to_have_text("the microphone is gone: trying again")
    server.publish(make_frame(2))
    expect(page.locator("#notice")).to_have_text("")


def test_a_restarted_server_is_found_again(start: Start, open_page: Open) -> None:
    with ServerThread(ServerConfig(port=0), HELLO) as first:
        port = int(first.address.rstrip("/").rpartition(":")[2])
        opened = open_page(first.address)
        page = opened.page
        first.publish(make_frame(30))
        expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#state")).to_have_text(re.compile(r"^retry in \d+ s$"))
    expect(page.locator("#retry")).to_be_visible()
    expect(page.locator("#notice")).not_to_have_text("")
    second = start(port)
    with suppress(TimeoutError):  # the page may have found it by itself
        page.locator("#retry").click(timeout=3000)
    second.publish(make_frame(5, guitar=0.7))
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#frames")).to_have_text("1")
    expect(page.locator("#retry")).to_be_hidden()
    assert all("ERR_CONNECTION_REFUSED" in line or "WebSocket" in line for line in opened.ignore_complaints())


def test_retries_back_off_and_succeed(server: ServerThread, open_page: Open) -> None:
    closing = True

    def handle(route: WebSocketRoute) -> None:
        if closing:
            route.close(code=1011, reason="no tags today")
        else:
            route.send(HELLO.to_json())

    def before(page: Page) -> None:
        page.clock.install()
        mocked(handle)(page)

    page = open_page(server.address, before, wait=False).page
    waits = []
    for _ in range(8):
        expect(page.locator("#state")).to_have_text(re.compile("^retry in"))
        waits.append(int(re.findall(r"\d+", page.locator("#state").inner_text())[0]))
        page.clock.run_for(1000 * waits[-1])
    assert waits[0] == 1
    assert 8 <= waits[-1] <= 12
    assert waits == sorted(waits[:5]) + waits[5:]
    expect(page.locator("#empty-text")).to_contain_text("no tags today")
    closing = False
    page.clock.run_for(13_000)
    expect(page.locator("#state")).to_have_text("waiting")


def test_a_silent_connection_is_replaced(server: ServerThread, open_page: Open) -> None:
    opened = open_page(server.address, lambda page: page.clock.install())
    page = opened.page
    server.publish(make_frame(0))
    expect(page.locator("#state")).to_have_text("live")
    assert len(opened.sockets) == 1
    page.clock.run_for(20_000)
    assert len(opened.sockets) == 1
    page.clock.run_for(15_000)
    expect(page.locator("#state")).to_have_text("stalled")
    wait_until(page, lambda: len(opened.sockets) == 2)  # the news of a socket comes after that of the page's text
    server.publish(make_frame(1))
    expect(page.locator("#frames")).to_have_text("2")  # the old frame, told again, is not counted again


def test_a_token_in_the_address_is_accepted(start: Start, open_page: Open) -> None:
    server = start(token="s3cret&more")
    opened = open_page(server.address, wait=False)
    expect(opened.page.locator("#notice")).to_have_text(
        "The server wants a token: add ?token=… to this page's address."
    )
    assert len(opened.ignore_complaints()) > 0
    opened.page.close()
    opened.ignore_complaints()  # of another try
    page = open_page(f"{server.address}?token=s3cret%26more").page
    expect(page.locator("#state")).to_have_text("waiting")


HISTORY = History("mic", (0.0, 0.25), {"guitar": (0.5, 0.6)}, {})
KINDS = ("hello", "frame", "event", "gap", "history", "end", "error")
DAMAGES: list[dict[str, object]] = [
    {"times": None},
    {"times": [1, "x"]},
    {"tags": None},
    {"tags": {"guitar": [0.5]}},
    {"tags": {"guitar": "xx"}},
    {"events": [None]},
    {"gaps": [{"start": 1}]},
    {"present": 7},
]


def hostile() -> list[str]:
    """Return lines that are no messages, or none of their type."""
    frame = make_frame(0).to_json()
    start = '{"type":"frame","stream":"mic","frame":0,"start":0,"end":1,"tags":'
    return [
        *("", "null", "[]", "7", '"frame"', "{", "{}", "[" * 50_000, "x" * 3_000_000),
        *(f'{{"type":{name}}}' for name in ("null", '"toString"', '"__proto__"', '"news"', "{}")),
        *(
            f'{{"type":"{name}","stream":"mic"}}'
            for name in ("hello", "frame", "event", "gap", "history", "end", "error")
        ),
        '{"type":"hello","protocol":1,"tags":{}}',
        '{"type":"gap","stream":"mic","start":1,"lost_s":"x"}',
        '{"type":"error","message":{}}',
        frame.replace('"mic"', '["mic"]'),
        f"{start}null}}",
        f'{start}{{"guitar":"x","drums":null,"piano":[1]}}}}',
        frame.replace('"frame":0', '"frame":"0"'),
        frame.replace('"start":-0.256', '"start":null'),
        *(json.dumps({**HISTORY.to_dict(), **damage}) for damage in DAMAGES),
    ]


def test_invalid_messages_are_ignored(server: ServerThread, open_page: Open) -> None:
    def handle(route: WebSocketRoute) -> None:
        route.send("{")
        route.send(HELLO.to_json())
        for line in hostile():
            route.send(line)
        route.send(b"\x00\xff" * 100)
        route.send(make_frame(1, guitar=0.9).to_json())

    page = open_page(server.address, mocked(handle)).page
    expect(value_of(page, "guitar")).to_have_text("0.90")
    expect(page.locator("#state")).to_have_text("live")


def test_another_protocol_version_is_explained(server: ServerThread, open_page: Open) -> None:
    def handle(route: WebSocketRoute) -> None:
        route.send(json.dumps({**HELLO.to_dict(), "protocol": 2}))

    page = open_page(server.address, mocked(handle), wait=False).page
    expect(page.locator("#notice")).to_have_text("The server speaks protocol 2, this page protocol 1: reload it.")


def test_another_model_has_other_rows(server: ServerThread, open_page: Open) -> None:
    sockets: list[WebSocketRoute] = []

    def handle(route: WebSocketRoute) -> None:
        sockets.append(route)
        other = {**HELLO.to_dict(), "model": "another", "tags": ["zither", "gong"], "thresholds": [0.2, 0.4]}
        route.send(HELLO.to_json() if len(sockets) == 1 else json.dumps(other))

    page = open_page(server.address, mocked(handle)).page
    expect(page.locator("#rows .tag").first).to_have_text("guitar")
    sockets[0].close()
    expect(page.locator("#rows .tag")).to_have_text(["zither", "gong"])
    expect(page.locator("#model")).to_have_text("another")


def test_latency_and_dropped_frames_are_shown(page: Page, server: ServerThread) -> None:
    server.publish(make_frame(0))
    expect(page.locator("#latency")).to_have_text("not a live source")
    for number in range(1, 101):
        server.publish(make_frame(number, latency_s=0.4 + number / 1000, dropped=2 if number == 50 else 0))
    expect(page.locator("#frames")).to_have_text("101")
    expect(page.locator("#latency")).to_have_text("451 / 496 ms")
    expect(page.locator("#dropped")).to_have_text("2")


BREACHES = {
    "script": "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))",
    "style": "document.body.append(Object.assign(document.createElement('style'), {textContent: 'body {color: red}'}))",
    "request": "fetch('http://127.0.0.1:9/').catch(() => 0)",
    "socket": "new WebSocket('ws://127.0.0.1:9/') && 0",
}


def test_the_content_policy_blocks_and_reports_violations(open_page: Open, server: ServerThread) -> None:
    opened = open_page(server.address)
    for breach in BREACHES.values():
        opened.page.evaluate(breach)
        opened.page.wait_for_timeout(100)
        assert "Content Security Policy" in " ".join(opened.ignore_complaints())
    assert opened.page.title() == "streamtag"
