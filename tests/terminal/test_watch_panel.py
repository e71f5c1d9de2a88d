"""The panel of a subscriber: what it shows of a server's messages."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streamtag.audio.source import SourceNotice
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Hello, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.live_panel import STREAMS
from streamtag.terminal.watch_panel import WatchPanel

HELLO = Hello("streamtag 0.1.0", "small", ("guitar", "harp", "rock"), 16000, 0.256, 0.512, 0.384, (0.3, 0.1, 0.5))


def _frame(number: int, stream: str = "mic", dropped: int = 0) -> Frame:
    return Frame(stream, number, 0.25 * number, 0.25 * number + 0.5, {"guitar": 0.9}, 0.42, dropped)


class Shown:
    """A panel on a pretended terminal of 80 x 24."""

    def __init__(self) -> None:
        file = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        console = Console(file=file, force_terminal=True, width=80, height=24, legacy_windows=False)
        self.view = WatchPanel(console, Selection.of(HELLO.tags, HELLO.thresholds), HELLO, "ws://h/")

    def tell(self, *messages: Message) -> None:
        for message in messages:
            self.view.write(message)

    def text(self) -> str:
        plain = Console(file=io.StringIO(), width=80, height=24, color_system=None)
        with plain.capture() as captured:
            plain.print(self.view._panel.render())
        return captured.get()


@pytest.fixture
def shown() -> Shown:
    return Shown()


def test_before_anything_it_says_where_it_looks(shown: Shown) -> None:
    text = shown.text()
    for wanted in ("ws://h/", "waiting", "model small", "streamtag 0.1.0", "q quit"):
        assert wanted in text


def test_frames_losses_and_what_the_server_dropped_are_counted(shown: Shown) -> None:
    shown.tell(_frame(1), Gap("mic", 0.5, 1.5), Event("mic", "guitar", "on", 0.5), _frame(8, dropped=3))
    text = shown.text()
    for wanted in ("mic", "0:02", "latency 0.42 s, p95 0.42 s", "1 gap, 1.5 s lost", "3 frames dropped"):
        assert wanted in text
    assert "level" not in text  # the sound itself is not here


def test_a_gap_of_a_stream_that_was_never_heard_does_no_harm(shown: Shown) -> None:
    shown.tell(Gap("mic", 0.5, 1.5), End("mic", 0.5, 0, {}))
    assert "mic: ended after 0 frames" in shown.text()


def test_a_stream_that_begins_anew_counts_anew(shown: Shown) -> None:
    shown.tell(*map(_frame, range(400)), Gap("mic", 100.0, 1.5))
    assert "1:40" in shown.text()
    shown.tell(_frame(0), _frame(1))
    text = shown.text()
    assert "0:00" in text
    assert "0 gaps" in text


def test_ends_errors_and_notices_are_told(shown: Shown) -> None:
    shown.tell(_frame(0))
    for message, said in ((Error("unplugged", "mic"), "unplugged"), (End("mic", 0.5, 1, {}), "ended after 1 frame")):
        shown.tell(message)
        assert said in shown.text()
    shown.view.notice(SourceNotice("connected", is_problem=False))
    assert "connected" in shown.text()


def test_streams_without_end_keep_memory_bounded(shown: Shown) -> None:
    shown.tell(*(_frame(0, f"stream {number}") for number in range(3 * STREAMS)))
    assert len(shown.view._meters) == len(shown.view._newest) == STREAMS


def test_without_a_terminal_for_keys_it_is_wanted_for_ever(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with shown.view as view:
        assert view.wanted()
