"""The live view as text, at any size and with any content."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from streamtag.audio.level_meter import Level, Reading
from streamtag.protocol.selection import Selection
from streamtag.terminal.bars import BarValues
from streamtag.terminal.live_view import ViewModel, draw
from streamtag.terminal.widgets import ASCII, UNICODE, Glyphs

TAGS = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
SELECTION = Selection.of(TAGS, (0.5, 0.5, 0.5, 0.5, 0.5, 0.1))
LEVEL = Level(rms_db=-18.0, peak_db=-6.0, clipped=False, silence_s=0.0)
READING = Reading(72.5, LEVEL, 0.41, 0.44, 0.052, gaps=1, lost_s=0.3, xruns=2)
MODEL = ViewModel(
    stream="mic",
    source="USB Audio, 48000 Hz, 2 channels",
    reading=READING,
    values=BarValues(
        bars=np.array([0.9, 0.1, 0.6, 0.2, 0.3, 0.05]),
        on=np.array([True, False, True, False, False, False]),
        history=np.linspace(0, 0.9, 16)[:, np.newaxis] * np.ones(6),
        history_on=np.zeros((16, 6), bool),
        groups=((0, 2, 4, 3, 1, 5),),
    ),
    facts=("model one on cpu", "ws://127.0.0.1:8765/", "3 subscribers"),
    keys="q quit   r reset   space freeze",
)


def _drawn(model: ViewModel = MODEL, width: int = 80, height: int = 24, glyphs: Glyphs = UNICODE) -> list[str]:
    return [line.plain for line in draw(model, SELECTION, glyphs, width, height)]


def test_figures_are_shown_where_they_exist() -> None:
    full, few = "\n".join(_drawn()), "\n".join(_drawn(replace(MODEL, reading=Reading(4.0))))
    for figure in ("level", "xrun", "latency"):
        assert figure in full
        assert figure not in few
    assert "0 gaps" in few
    assert "CLIP" not in full
    clipped = replace(READING, level=replace(LEVEL, clipped=True), dropped=7)
    text = "\n".join(_drawn(replace(MODEL, reading=clipped), glyphs=ASCII))
    assert "CLIP" in text
    assert "7 frames dropped" in text
    assert text.isascii()


def test_the_level_grows_with_the_volume_and_shows_its_peak() -> None:
    def cells(rms: float, peak: float) -> str:
        level = replace(LEVEL, rms_db=rms, peak_db=peak)
        return _drawn(replace(MODEL, reading=replace(READING, level=level)))[1]

    counts = [cells(rms, rms).count("█") for rms in (-100, -60, -40, -20, -3, 0, 6)]
    assert counts[0] == counts[1] == 0
    assert counts == sorted(counts)
    assert counts[2] < counts[3] < counts[4] < counts[5] == counts[6]
    assert cells(-40, -10).index("╎") > cells(-40, -30).index("╎")
    assert "-100" not in cells(-100, -100)


def test_a_small_terminal_shows_the_most_important_lines() -> None:
    lines = _drawn(replace(MODEL, notice="unplugged"), 40, 10)
    assert lines[0].startswith("mic")
    assert lines[0].endswith("1:12")
    assert lines[1].startswith("level")
    assert [line[:8] for line in lines[2:5]] == ["* guitar", "* drums ", "  piano "]
    assert any("latency" in line for line in lines)
    assert "unplugged" in lines
    assert lines[-1].startswith("q quit")


TEXTS = st.text(max_size=60) | st.just("a very long name " * 20)


@given(
    st.builds(
        replace,
        st.just(MODEL),
        stream=TEXTS,
        source=TEXTS,
        notice=TEXTS | st.none(),
        facts=st.lists(TEXTS, max_size=5).map(tuple),
        reading=st.builds(
            lambda rms_db, time_s: replace(READING, level=Level(rms_db, rms_db + 6, True, 0), elapsed_s=time_s),
            st.floats(-200, 50),
            st.floats(0, 1e9),
        ),
        values=st.builds(
            lambda value: replace(MODEL.values, history=np.full((16, 6), value)),
            st.floats(-0.5, 1.5) | st.just(float("nan")),
        ),
    ),
    st.integers(1, 300),
    st.integers(1, 90),
    st.sampled_from([UNICODE, ASCII]),
)
def test_anything_can_be_drawn_at_any_size(model: ViewModel, width: int, height: int, glyphs: Glyphs) -> None:
    lines = _drawn(model, width, height, glyphs)
    assert 0 < len(lines) <= height
    assert max(map(cell_len, lines)) <= width
