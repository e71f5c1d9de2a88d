"""The picture of a history: rows, hours of the zone, what was not heard, and its limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.dates import num2date

from streamtag.history.bins import ConceptBins, DayHistory, StreamBins, TimeBins
from streamtag.sinks.history_plot import HEARD, MAX_PANELS, MAX_ROWS, figure
from streamtag.sinks.plot import BACKGROUND, PRESENT, render
from tests.history.sample import DAY_S

BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT = datetime(2026, 3, 29, tzinfo=BERLIN)  # the clock goes from 2:00 to 3:00 in this night
BINS = TimeBins(MIDNIGHT.timestamp(), MIDNIGHT.timestamp() + DAY_S, 3600.0)
HEARD_HALF = np.repeat([1.0, 0.0], 12)


def _concept(name: str, category: str, hours: int) -> ConceptBins:
    return ConceptBins(name, category, 3600.0 * hours, np.where(np.arange(24) < hours, 1.0, 0.0).astype(np.float64))


def _stream(name: str, *concepts: ConceptBins) -> StreamBins:
    gaps = ((BINS.from_at + 1800, 2.0), (BINS.from_at - 5, 10.0))
    return StreamBins(name, BINS.from_at, BINS.to_at, HEARD_HALF, gaps, 2, 12.0, concepts)


def _day(*streams: StreamBins, left_out: int = 0) -> DayHistory:
    return DayHistory(BINS, BINS.from_at, BINS.to_at, streams, left_out)


DRUMS, HARP, CALM = (
    _concept("drums", "instrument", 3),
    _concept("harp", "instrument", 1),
    _concept("calm", "mood", 6),
)


def test_a_panel_per_stream_and_a_row_per_concept() -> None:
    picture = figure(_day(_stream("radio", CALM, DRUMS, HARP), _stream("$x_2$", HARP)), zone=BERLIN)
    radio, other = picture.axes
    assert [label.get_text() for label in radio.get_yticklabels()] == ["drums", "harp", "calm"]
    assert [label.get_text() for label in other.get_yticklabels()] == ["harp"]
    assert [text.get_text().strip() for text in radio.texts] == ["3:00:00", "1:00:00", "6:00:00"]
    texts = [text.get_text() for text in picture.texts]
    assert texts[0] == "2026-03-29 00:00 to 2026-03-30 01:00"
    assert texts[2:] == ["radio", "$x_2$"]
    gaps = np.asarray(radio.lines[0].get_xdata(), float).tolist()  # the other one began before the range
    assert [num2date(gap, BERLIN) for gap in gaps] == [MIDNIGHT + timedelta(minutes=30)]


def test_colours_tell_on_heard_and_not_heard() -> None:
    (axes,) = figure(_day(_stream("radio", DRUMS)), zone=BERLIN).axes
    colours = axes.images[0].get_array()
    assert colours is not None
    expected = [PRESENT] * 3 + [HEARD] * 9 + [BACKGROUND] * 12
    np.testing.assert_allclose(colours[0], [to_rgb(each) for each in expected], atol=1e-6)


def test_the_hours_are_those_of_the_zone() -> None:
    picture = figure(_day(_stream("radio", DRUMS)), zone=BERLIN)
    picture.canvas.draw()
    (axes,) = picture.axes
    marks = {
        label.get_text(): num2date(tick, BERLIN)
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    }
    assert marks["06:00"] == datetime(2026, 3, 29, 6, tzinfo=BERLIN)
    assert marks["06:00"].timestamp() - BINS.from_at == 5 * 3600


def test_what_has_no_room_is_counted() -> None:
    many = [_concept(f"c{number:02d}", "mood", number % 20 + 1) for number in range(MAX_ROWS + 4)]
    picture = figure(_day(*[_stream(f"s{n}", *many) for n in range(MAX_PANELS + 2)], left_out=3), zone=BERLIN)
    assert len(picture.axes) == MAX_PANELS
    texts = [text.get_text() for text in picture.texts]
    assert texts[1].endswith("; 5 more streams not shown")
    assert texts[3] == f"the {MAX_ROWS} longest of {MAX_ROWS + 4} concepts"
    one = figure(_day(_stream("radio", *many)), ["c01"], BERLIN)
    assert [label.get_text() for label in one.axes[0].get_yticklabels()] == ["c01"]
    assert len(one.texts) == 3


@pytest.mark.parametrize("streams", [(), (_stream("silent\n東京"),), (replace(_stream("x", HARP), gaps=()),)])
def test_any_history_can_be_drawn(streams: tuple[StreamBins, ...]) -> None:
    assert b"<svg" in render(lambda: figure(_day(*streams), zone=BERLIN), "svg")
