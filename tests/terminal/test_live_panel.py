"""The live view: which stream is shown, notices, freezing, keys, and that it leaves the terminal as it was."""

from __future__ import annotations

import os
import re
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from streamtag.audio.level_meter import Meter
from streamtag.audio.source import SourceNotice
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Hello, History, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.live_panel import (
    MAX_STREAMS,
    NOTICE_TIME_S,
    STALE_AFTER_S,
    LivePanel,
    StatusInfo,
    WatchPanel,
)
from tests.terminal.conftest import Screen

TAGS = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
SELECTION = Selection.of(TAGS, (0.5,) * 6)
LOUD = np.array([0.9, 0.1, 0.6, 0.2, 0.3, 0.05])
SOFT = np.array([0.1, 0.8, 0.1, 0.2, 0.7, 0.05])
HELLO = Hello("streamtag 0.1.0", "small", TAGS, 16000, 0.256, 0.512, 0.384, (0.5,) * 6)


def frame(number: int, probs: NDArray[np.float64] = LOUD, stream: str = "mic", dropped: int = 0) -> Frame:
    tags = dict(zip(TAGS, probs.tolist(), strict=True))
    return Frame(stream, number, 0.25 * number, 0.25 * number + 0.5, tags, 0.42, dropped)


class Shown:
    """A panel on a pretended terminal."""

    def __init__(self, encoding: str = "utf-8", status: StatusInfo | None = None, meter: Meter | None = None) -> None:
        self.screen = Screen(encoding=encoding)
        self.panel = LivePanel(self.screen.console, SELECTION, status or StatusInfo(), meter, self.screen.clock)

    def write(self, *messages: Message) -> None:
        for message in messages:
            self.panel.write(message)

    def text(self, after: float = 0.2) -> str:
        self.screen.now += after
        return self.screen.text(self.panel)

    def lines(self, after: float = 0.2) -> list[str]:
        return self.text(after).splitlines()


@pytest.fixture
def shown() -> Shown:
    return Shown()


def value_of(lines: list[str], tag: str) -> float:
    (line,) = (line for line in lines if line[2:].startswith(tag))
    found = re.search(r"  ([01]\.\d\d)", line)
    assert found is not None
    return float(found[1])


def marked(lines: list[str]) -> list[str]:
    return [line[2:].split()[0] for line in lines if line.startswith("* ")]


def test_bars_fall_when_no_frames_come(shown: Shown) -> None:
    shown.write(frame(0))
    lines = shown.lines(1.0)
    assert value_of(lines, "guitar") > 0.8
    assert "waiting" not in lines[0]
    shown.lines(STALE_AFTER_S)
    lines = shown.lines(2.0)
    assert value_of(lines, "guitar") < 0.05
    assert "waiting" in lines[0]
    assert marked(lines) == []
    shown.write(frame(1))
    assert marked(shown.lines()) == ["guitar", "drums"]


def test_marks_follow_the_events_and_the_threshold_only_before_the_first(shown: Shown) -> None:
    shown.write(frame(0))
    assert marked(shown.lines()) == ["guitar", "drums"]
    shown.write(Event("mic", "drums", "off", 0.3), Event("other", "slow", "on", 0.3), frame(1))
    assert marked(shown.lines()) == ["guitar"]
    shown.write(frame(2, SOFT), Event("mic", "piano", "on", 0.5), Event("mic", "no such tag", "on", 0.5))
    assert marked(shown.lines(1.9)) == ["slow", "piano"]
    shown.write(frame(0))  # the stream begins anew
    assert marked(shown.lines(1.9)) == ["guitar", "drums"]


def test_a_late_subscriber_is_shown_the_past_and_what_is_present(shown: Shown) -> None:
    past = tuple(0.25 * n for n in range(8))
    tags = {"guitar": (0.1,) * 4 + (0.9,) * 4, "drums": (0.7,) * 8}
    shown.write(History("mic", past, tags, {}, present=("harp",)))
    shown.write(frame(8))
    lines = shown.lines()
    assert marked(lines) == ["harp"]
    shown.write(frame(8))  # once more, as after a reconnection
    assert marked(shown.lines(0.0)) == ["harp"]
    (guitar,) = (line for line in lines if line[2:].startswith("guitar"))
    assert guitar.endswith("▁▁███")


def test_freezing_stops_the_display_and_nothing_else(shown: Shown) -> None:
    shown.write(frame(0))
    shown.lines(1.0)
    shown.panel.toggle_freeze()
    for number in range(1, 20):
        shown.write(frame(number, SOFT))
        frozen = shown.lines(0.256)
    assert "frozen" in frozen[0]
    assert value_of(frozen, "guitar") > 0.8
    shown.panel.notify(SourceNotice("unplugged"))
    assert "unplugged" in shown.text()  # problems are always shown
    shown.panel.toggle_freeze()
    lines = shown.lines(0.1)
    assert "frozen" not in lines[0]
    assert value_of(lines, "slow") > 0.7


def test_the_next_stream_is_shown_with_its_latest_frame(shown: Shown) -> None:
    shown.panel.next_stream()  # nothing to show yet
    shown.write(frame(0, SOFT, "b"))
    shown.write(*(frame(number, 1 - LOUD, "a") for number in range(10)), frame(10, LOUD, "a"))
    assert shown.lines(1.0)[0].startswith("b (+1)")
    shown.panel.next_stream()
    lines = shown.lines(0.0)
    assert lines[0].startswith("a (+1)")
    assert value_of(lines, "guitar") == pytest.approx(0.9, abs=0.01)
    shown.panel.next_stream()
    assert shown.lines()[0].startswith("b (+1)")


def test_a_stream_that_has_ended_is_replaced_by_one_that_goes_on(shown: Shown) -> None:
    shown.write(frame(0, SOFT, "a"), End("a", 0.5, 1, {}), End("unknown", 0.0, 0, {}))
    assert shown.lines()[0].startswith("a ")  # there is no other
    assert "unknown: ended after 0:00: nothing certain" in shown.text()
    shown.write(frame(0, LOUD, "b"))
    lines = shown.lines()
    assert lines[0].startswith("b ")
    assert "(+" not in lines[0]
    assert value_of(lines, "guitar") == pytest.approx(0.9, abs=0.01)
    shown.write(frame(0, SOFT, "a"), End("b", 0.5, 1, {}))
    assert shown.lines()[0].startswith("a ")


def test_the_number_of_streams_is_bounded_and_the_shown_one_stays(shown: Shown) -> None:
    shown.write(*(frame(0, LOUD, f"stream {number}") for number in range(3 * MAX_STREAMS)))
    assert shown.lines()[0].startswith(f"stream 0 (+{MAX_STREAMS - 1})")


def test_an_error_is_shown_until_frames_come_and_other_notices_for_a_while(shown: Shown) -> None:
    shown.write(Error("unplugged", "mic"))
    assert "unplugged" in shown.text(10 * NOTICE_TIME_S)
    shown.write(frame(0))
    assert "unplugged" in shown.text(NOTICE_TIME_S / 2)  # long enough to be read
    assert "unplugged" not in shown.text(NOTICE_TIME_S)
    shown.panel.notify(SourceNotice("sound is back", is_problem=False))
    assert "sound is back" in shown.text()
    assert "sound is back" not in shown.text(NOTICE_TIME_S)


def test_a_problem_of_the_source_is_shown_until_the_source_reports_its_end(shown: Shown) -> None:
    shown.panel.notify(SourceNotice("nothing but silence: muted?"))
    shown.write(Error("nothing but silence: muted?", "mic"), frame(0))  # the same, published to all outputs
    assert "muted?" in shown.text(2 * NOTICE_TIME_S)
    shown.panel.notify(SourceNotice("there is sound again", is_problem=False))
    assert "muted?" not in shown.text()


def test_figures_come_from_the_messages(shown: Shown) -> None:
    shown.write(Gap("mic", 0.0, 9.0))  # of a stream without frames
    shown.write(frame(1), Gap("mic", 0.5, 1.5), Event("mic", "guitar", "on", 0.5), frame(8, dropped=3))
    text = shown.text()
    for expected in ("0:02", "latency 0.42 s, p95 0.42 s", "1 gap, 1.5 s lost", "3 frames dropped"):
        assert expected in text
    assert "level" not in text  # there is no audio here
    shown.write(frame(0), frame(1))  # the stream begins anew
    text = shown.text()
    assert "0:00" in text
    assert "0 gaps" in text


def test_names_from_elsewhere_cannot_control_the_terminal() -> None:
    shown = Shown(status=StatusInfo(lambda: "\x1b[2Jsource", lambda: ("\x07fact",)))
    shown.write(frame(0, LOUD, "\x1b]0;title\x07\nname [bold]"))
    shown.panel.notify(SourceNotice("\x1b[31mnotice\r"))
    assert not set("\x1b\x07\r") & set(shown.text())
    assert "name [bold]" in shown.lines()[0]


def test_it_uses_the_second_screen_while_shown_and_restores_the_first(shown: Shown) -> None:
    with shown.panel:
        shown.panel.show()  # a second time does no harm
        assert shown.panel.is_shown
        shown.panel.hide()
        hidden = len(shown.screen.output)
        shown.write(frame(0))
        shown.panel.show()
    shown.panel.hide()
    assert not shown.panel.is_shown
    output = shown.screen.output
    assert output.startswith("\x1b[?1049h")
    assert "\x1b[?1049l" in output[hidden - 40 : hidden]
    assert "mic" in output[hidden:]
    assert output.count("\x1b[?1049h") == output.count("\x1b[?1049l") == 2
    assert output.rindex("\x1b[?25h") > output.rindex("mic")  # the cursor is back


def test_it_redraws_by_itself() -> None:
    drawn = threading.Semaphore(0)
    shown = Shown(status=StatusInfo(facts=lambda: (drawn.release() or "",)))  # type: ignore[func-returns-value]
    with shown.panel:
        assert all(drawn.acquire(timeout=10) for _ in range(4))


def test_a_key_does_what_its_action_says(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    pressed, (master, slave) = [], os.openpty()
    with os.fdopen(slave) as terminal, os.fdopen(master, "wb", buffering=0) as keyboard:
        monkeypatch.setattr("sys.stdin", terminal)
        panel = LivePanel(shown.screen.console, SELECTION, StatusInfo())
        panel.actions["r"] = lambda: pressed.append("r")
        with panel:
            keyboard.write(b"xr")
            assert (panel.stop_requested(), pressed) == (False, ["r"])
            keyboard.write(b"q")
            assert panel.stop_requested()


def test_what_was_present_in_streams_that_ended_is_printed_when_the_panel_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    screen = Screen()
    with WatchPanel(screen.console, SELECTION, HELLO, "ws://h/") as panel:
        panel.write(frame(0))
        panel.write(End("song [1].mp3", 72.6, 284, {}, {}, {"harp": 70.0, "piano": 1.0}))
    _, _, after = screen.output.rpartition("\x1b[?1049l")
    assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", after).strip() == "song [1].mp3  1:13  harp"
