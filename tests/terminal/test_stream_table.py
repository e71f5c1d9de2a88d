"""The table of streams, on a pretended terminal."""

from __future__ import annotations

from dataclasses import replace

from streamtag.audio.source import SourceNotice
from streamtag.cli.serve_output import table_snapshot
from streamtag.protocol.messages import End, Event, Frame
from streamtag.protocol.selection import Selection
from streamtag.scheduler.stats import SchedulerStats, StreamStats
from streamtag.terminal.stream_table import StreamsTable, TableSnapshot
from tests.terminal.conftest import Screen

MIC = StreamStats("mic", 63.2, 0.031, 0.0, 0.0, True, False)
TAGS = ("guitar", "harp", "drums", "slow")
SELECTION = Selection.of(TAGS, (0.5,) * 4)
STATS = SchedulerStats(1, 0, 40, False, 1.0, 0, 0.0, 0.002, 0.37)


def snapshot(*streams: StreamStats, is_degraded: bool = False) -> TableSnapshot:
    return table_snapshot("http://h:1/", replace(STATS, is_degraded=is_degraded), streams, 2)


class Shown:
    """A table on a pretended terminal. snapshot: what the table reads."""

    def __init__(self, height: int = 24, selection: Selection | None = None) -> None:
        self.snapshot = snapshot(MIC)
        self.screen = Screen(90, height)
        console, clock = self.screen.console, self.screen.clock
        self.table = StreamsTable(console, lambda: self.snapshot, selection or SELECTION, clock)

    def text(self) -> str:
        return self.screen.text(self.table)


def test_each_stream_has_its_length_lag_state_and_the_tags_that_are_present() -> None:
    shown = Shown()
    away = replace(MIC, name="hall [2]", is_disconnected=True)
    song = replace(MIC, name="song.mp3", is_live=False)
    late = replace(MIC, name="late", shed_s=2.25, lag_s=0.9)
    shown.snapshot = snapshot(MIC, away, song, late)
    shown.table.write(Frame("mic", 9, 2.0, 2.5, {"guitar": 0.2, "harp": 0.91, "drums": 0.4, "slow": 0.5}))
    lines = [" ".join(line.split()) for line in shown.text().splitlines()]
    assert lines[0] == "http://h:1/ 4 of 40 streams 2 subscribers 37% busy"
    assert lines[2] == "mic 1:03 31 ms harp 0.91 slow 0.50"
    assert lines[3] == "hall [2] 1:03 away"
    assert lines[4] == "song.mp3 1:03 31 ms file"
    assert lines[5] == "late 1:03 900 ms 2.2 s lost"
    shown.table.write(Event("mic", "harp", "off", 2.25))
    shown.table.write(Event("mic", "guitar", "on", 2.25))
    assert "slow 0.50  guitar 0.20" in shown.text()
    shown.table.write(End("mic", 63.2, 200, {}))
    assert "slow" not in shown.text()


def test_a_degraded_server_is_marked() -> None:
    shown = Shown()
    assert "behind" not in shown.text()
    shown.snapshot = snapshot(is_degraded=True)
    assert "behind: no new streams" in shown.text()


def test_it_is_drawn_twice_a_second_below_the_lines() -> None:
    shown = Shown()
    with shown.table:
        shown.table.draw()
        once = shown.screen.output.count("http://h:1/")
        shown.screen.now += 0.4
        shown.table.draw()
        assert shown.screen.output.count("http://h:1/") == once
        shown.screen.now += 0.2
        shown.table.draw()
        assert shown.screen.output.count("http://h:1/") > once
        shown.table.notify(SourceNotice("mic: [bold]ended[/bold] after 1:03"))
    assert "streamtag: mic: [bold]ended[/bold] after 1:03\n" in shown.screen.output
