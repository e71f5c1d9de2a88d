"""The panel's state: which stream, frozen or not, what was noticed, and that looking costs the sound nothing."""

from __future__ import annotations

import io
import re
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from streamtag.audio.level_meter import Reading
from streamtag.audio.source import SourceNotice
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import Error, Frame
from streamtag.protocol.selection import Selection
from streamtag.terminal.live_panel import NOTICE_S, REDRAWS, STALE_S, STREAMS, LivePanel, StatusInfo, can_draw

TAGS = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
SELECTION = Selection.of(TAGS, (0.5,) * 6)
LOUD = np.array([0.9, 0.1, 0.6, 0.2, 0.3, 0.05], np.float32)
SOFT = np.array([0.1, 0.8, 0.1, 0.2, 0.7, 0.05], np.float32)


class Clock:
    """Seconds, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Shown:
    """A panel on a pretended terminal, whose clock is moved by hand."""

    def __init__(self, encoding: str = "utf-8", facts: StatusInfo | None = None) -> None:
        self.clock = Clock()
        self.buffer = io.BytesIO()
        file = io.TextIOWrapper(self.buffer, encoding, write_through=True)
        self.console = Console(file=file, force_terminal=True, width=80, height=24, legacy_windows=False)
        self.panel = LivePanel(
            self.console, SELECTION, facts or StatusInfo(lambda stream: Reading(float(len(stream)))), self.clock
        )

    def lines(self, after: float = 0.2) -> list[str]:
        """What is drawn `after` so many seconds."""
        self.clock.now += after
        plain = Console(file=io.StringIO(), width=80, height=24, color_system=None)
        with plain.capture() as captured:
            plain.print(self.panel.render())
        return captured.get().splitlines()

    def text(self, after: float = 0.2) -> str:
        return "\n".join(self.lines(after))


def _value(lines: list[str], tag: str) -> float:
    (line,) = (line for line in lines if line.startswith(tag))
    found = re.search(r"  ([01]\.\d\d)", line)
    assert found is not None
    return float(found[1])


def test_before_the_first_stream_it_waits() -> None:
    assert "waiting" in Shown().lines()[0]


def test_frames_become_bars_and_their_order_is_by_strength() -> None:
    shown = Shown()
    shown.panel.begin(StreamInfo("mic"), Timeline("mic", TAGS))
    for number in range(8):
        shown.panel.write(Frame("mic", number, 0.0, 0.5, dict(zip(TAGS, LOUD.tolist(), strict=True)), 0.4))
        lines = shown.lines(0.256)
    assert lines[0].startswith("mic")
    assert "waiting" not in lines[0]
    tags = [line.split()[0] for line in lines[2:8]]
    assert tags[:3] == ["guitar", "drums", "piano"]
    assert _value(lines, "guitar") == pytest.approx(0.9, abs=0.01)


def test_bars_fall_when_no_frames_come() -> None:
    shown = Shown()
    shown.panel.probs("mic", 0, LOUD)
    shown.clock.now += 1.0
    assert _value(shown.lines(0.0), "guitar") > 0.8
    assert "waiting" not in shown.lines(0.0)[0]
    shown.clock.now += STALE_S
    shown.lines(0.5)
    lines = shown.lines(2.0)
    assert _value(lines, "guitar") < 0.05
    assert "waiting" in lines[0]


def test_freezing_stops_the_display_and_nothing_else() -> None:
    shown = Shown()
    shown.panel.probs("mic", 0, LOUD)
    shown.lines(1.0)
    shown.panel.freeze()
    for number in range(1, 20):
        shown.panel.probs("mic", number, SOFT)
        frozen = shown.lines(0.256)
    assert "frozen" in frozen[0]
    assert _value(frozen, "guitar") > 0.8
    shown.panel.notice(SourceNotice("unplugged"))
    assert "unplugged" in shown.text()  # trouble is not kept from anyone
    shown.panel.freeze()
    lines = shown.lines(0.1)
    assert "frozen" not in lines[0]
    assert _value(lines, "slow") > 0.7


def test_the_next_stream_is_shown_as_it_is_now() -> None:
    shown = Shown()
    shown.panel.probs("b", 0, SOFT)
    for number in range(10):
        shown.panel.probs("a", number, 1 - LOUD)
    shown.panel.probs("a", 10, LOUD)
    assert shown.lines(1.0)[0].startswith("b (+1)")
    shown.panel.next()
    lines = shown.lines(0.0)
    assert lines[0].startswith("a (+1)")
    assert _value(lines, "guitar") == pytest.approx(0.9, abs=0.01)
    shown.panel.next()
    assert shown.lines()[0].startswith("b (+1)")


def test_a_stream_that_ended_makes_room_for_one_that_goes_on() -> None:
    shown = Shown()
    shown.panel.probs("a", 0, SOFT)
    shown.panel.gone("a")
    shown.panel.gone("unheard of")
    assert shown.lines()[0].startswith("a ")  # there is nothing else to show
    shown.panel.probs("b", 0, LOUD)
    lines = shown.lines()
    assert lines[0].startswith("b ")
    assert "(+" not in lines[0]
    assert _value(lines, "guitar") == pytest.approx(0.9, abs=0.01)
    shown.panel.probs("a", 0, SOFT)  # anew
    shown.panel.gone("b")
    assert shown.lines()[0].startswith("a ")


def test_next_without_streams_does_nothing() -> None:
    shown = Shown()
    shown.panel.next()
    assert "waiting" in shown.lines()[0]


def test_streams_without_end_keep_memory_bounded_and_the_chosen_one() -> None:
    shown = Shown()
    for number in range(3 * STREAMS):
        shown.panel.probs(f"stream {number}", 0, LOUD)
    assert shown.lines()[0].startswith(f"stream 0 (+{STREAMS - 1})")


def test_a_streams_trouble_stays_until_its_sound_comes_and_news_goes_by_itself() -> None:
    shown = Shown()
    shown.panel.error(Error("unplugged", "mic"))
    assert "unplugged" in shown.text(10 * NOTICE_S)
    shown.panel.probs("mic", 0, LOUD)
    assert "unplugged" in shown.text(NOTICE_S / 2)  # long enough to be read
    assert "unplugged" not in shown.text(NOTICE_S)
    shown.panel.notice(SourceNotice("sound is back", is_problem=False))
    assert "sound is back" in shown.text()
    assert "sound is back" not in shown.text(NOTICE_S)


def test_a_sources_trouble_stays_until_the_source_says_otherwise() -> None:
    shown = Shown()
    shown.panel.notice(SourceNotice("nothing but silence: muted?"))
    shown.panel.error(Error("nothing but silence: muted?", "mic"))  # the same, told to all outputs
    shown.panel.probs("mic", 0, LOUD)
    assert "muted?" in shown.text(2 * NOTICE_S)
    shown.panel.notice(SourceNotice("there is sound again", is_problem=False))
    assert "muted?" not in shown.text()


def test_facts_are_asked_each_time() -> None:
    subscribers = 0
    facts = StatusInfo(lambda _: Reading(), lambda: "USB", lambda: (f"{subscribers} subscribers",), "q quit")
    shown = Shown(facts=facts)
    assert "0 subscribers" in shown.text()
    subscribers = 7
    assert "7 subscribers" in shown.text()
    assert "USB" in shown.lines()[0]


def test_names_from_elsewhere_cannot_command_the_terminal() -> None:
    shown = Shown(facts=StatusInfo(lambda _: Reading(), lambda: "\x1b[2Jabout", lambda: ("\x07fact",)))
    shown.panel.probs("\x1b]0;title\x07\nname [bold]", 0, LOUD)
    shown.panel.notice(SourceNotice("\x1b[31mnotice\r"))
    text = shown.text()
    assert not set("\x1b\x07\r") & set(text)
    assert "name [bold]" in shown.lines()[0]


def test_a_terminal_of_ascii_gets_ascii() -> None:
    shown = Shown("ascii")
    shown.panel.probs("mic", 0, LOUD)
    assert shown.text(1.0).isascii()
    assert "#" in shown.text()
    with shown.panel:
        pass
    assert b"#" in shown.buffer.getvalue()


def test_it_takes_the_second_screen_and_gives_the_first_back() -> None:
    shown = Shown()
    shown.panel.begin(StreamInfo("mic"), Timeline("mic", TAGS))
    with shown.panel:
        shown.panel.show()  # a second time does no harm
    shown.panel.hide()
    output = shown.buffer.getvalue().decode()
    assert output.startswith("\x1b[?1049h")
    assert "mic" in output
    assert output.count("\x1b[?1049h") == output.count("\x1b[?1049l") == 1
    assert output.rindex("\x1b[?25h") > output.rindex("mic")  # the cursor is back


def test_it_makes_room_and_comes_back() -> None:
    shown = Shown()
    with shown.panel:
        shown.panel.hide()
        hidden = len(shown.buffer.getvalue())
        shown.panel.probs("mic", 0, LOUD)
        shown.panel.show()
    output = shown.buffer.getvalue().decode()
    assert output[:hidden].endswith("\x1b[?1049l\x1b[?25h") or "\x1b[?1049l" in output[hidden - 40 : hidden]
    assert "mic" in output[hidden:]


def test_it_is_put_away_when_something_fails() -> None:
    shown = Shown()
    with pytest.raises(RuntimeError), shown.panel:
        raise RuntimeError
    assert b"\x1b[?1049l" in shown.buffer.getvalue()


def test_it_redraws_by_itself_at_its_own_rate() -> None:
    shown = Shown()
    drawn = threading.Semaphore(0)
    render = shown.panel.render

    def counted() -> object:
        drawn.release()
        return render()

    shown.panel.render = counted  # type: ignore[method-assign, assignment]
    with shown.panel:
        began = time.monotonic()
        assert all(drawn.acquire(timeout=10) for _ in range(5))
        took = time.monotonic() - began
    assert 2 <= REDRAWS <= 10
    assert took > 2 / REDRAWS  # five drawings, of which the first two may come at once


def test_frames_cost_next_to_nothing() -> None:
    shown = Shown()
    with shown.panel:
        began = time.perf_counter()
        for number in range(4000):  # seventeen minutes of sound
            shown.panel.write(Frame("mic", number, 0.0, 0.5, dict(zip(TAGS, LOUD.tolist(), strict=True)), 0.4))
        took = time.perf_counter() - began
    assert took < 2.0  # of a thousand seconds


@pytest.mark.parametrize(("term", "able"), [("xterm-256color", True), ("dumb", False)])
def test_only_a_real_terminal_is_drawn_on(term: str, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    assert can_draw(Console(file=io.StringIO(), force_terminal=True)) is able
    assert not can_draw(Console(file=io.StringIO(), force_terminal=False))
