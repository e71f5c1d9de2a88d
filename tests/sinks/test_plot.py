"""The tagogram."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import StreamFiles
from streamtag.sinks.labels import Label, find_labels
from streamtag.sinks.plot import (
    BACKGROUND,
    MAX_COLUMNS,
    PRESENT,
    draw,
    figure,
    resample_columns,
    tagogram,
    time_ticks,
)
from streamtag.text import format_time
from tests.conftest import MakeTimeline


def _pixels(png: bytes) -> NDArray[np.float64]:
    image: NDArray[np.float64] = plt.imread(io.BytesIO(png))[:, :, :3]
    return image


def test_twenty_tags_make_1600_by_900_pixels() -> None:
    tags = tuple(f"tag {index}" for index in range(50))
    timeline = Timeline("song.mp3", tags)
    timeline.seconds = 1.0
    image = _pixels(draw(timeline, [], Selection.of(tags, (0.5,) * 50), "png"))
    assert image.shape == (900, 1600, 3)
    np.testing.assert_allclose(image[2, 2], to_rgb(BACKGROUND), atol=0.01)


def test_the_strongest_tags_come_first_with_times_and_the_name(
    make_timeline: MakeTimeline, selection: Selection, probs: NDArray[np.float64]
) -> None:
    picture = figure(make_timeline(probs, name="A song.mp3", seconds=10.24), [], selection)
    main = picture.axes[0]
    names = [label.get_text() for label in main.get_yticklabels()]
    assert names == ["guitar", "drums", "harp", "slow", "male vocal", "piano"]
    assert [label.get_text() for label in main.get_xticklabels()][:3] == ["0:00", "0:01", "0:02"]
    texts = [text.get_text() for text in picture.texts]
    assert texts[:3] == ["A song.mp3", "0:10", "guitar, drums, harp"]  # the drums are on for a half
    colours = {text.get_position()[1]: text.get_color() for text in picture.axes[1].texts}
    assert [colours[row] == PRESENT for row in range(6)] == [True, True, True, False, False, False]
    values = main.images[0].get_array()
    assert values is not None
    assert values.shape == (6, MAX_COLUMNS)
    assert values[0, -1] > 0.9 > 0.3 > values[0, 0]  # the guitar grows,
    assert values[1, 0] > 0.8 > 0.2 > values[1, -1]  # the drums end


def test_labels_are_underlined(make_timeline: MakeTimeline, selection: Selection) -> None:
    def underlined(*labels: Label) -> int:
        picture = draw(make_timeline(np.zeros((40, 6))), labels, selection, "png")
        return int((np.abs(_pixels(picture) - to_rgb(PRESENT)).max(axis=2) < 0.1).sum())

    nothing = underlined()
    short, long = underlined(Label(1.0, 2.0, "harp")), underlined(Label(1.0, 5.0, "harp"))
    assert nothing < short
    assert 3 < (long - nothing) / (short - nothing) < 5


@pytest.mark.parametrize(
    ("name", "frames"),
    [("$_$ \\alpha $x^2 東京 🎵.mp3", 1), ("very long " * 40, 2000)],
)
def test_any_name_and_length_can_be_drawn(
    make_timeline: MakeTimeline, selection: Selection, name: str, frames: int
) -> None:
    png = draw(make_timeline(np.random.default_rng(1).random((frames, 6)), name=name), [], selection, "png")
    assert png.startswith(b"\x89PNG")


@pytest.mark.parametrize(("suffix", "magic"), [("PNG", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_determines_the_format_and_labels_are_those_of_the_label_track(
    tmp_path: Path,
    make_timeline: MakeTimeline,
    selection: Selection,
    probs: NDArray[np.float64],
    suffix: str,
    magic: bytes,
) -> None:
    path, timeline = tmp_path / f"tags.{suffix}", make_timeline(probs)
    written: list[Path] = []
    sink = StreamFiles({"song.mp3": path}, selection, tagogram, written.append)
    sink.begin(StreamInfo("song.mp3"), timeline)
    sink.write(End("song.mp3", 10.24, 40, {}))
    assert path.read_bytes().startswith(magic)
    assert written == [path]
    if suffix == "PNG":
        assert path.read_bytes() == draw(timeline, find_labels(timeline, selection), selection, "png")
        assert path.read_bytes() != draw(timeline, [], selection, "png")


@pytest.mark.parametrize("seconds", [0.1, 5, 29, 232, 3600, 86_400, 400_000])
def test_ticks_are_few_and_round(seconds: float) -> None:
    ticks = time_ticks(0, seconds)
    assert 1 <= len(ticks) <= 13
    assert ticks[0] == 0
    assert ticks[-1] <= seconds
    assert len({format_time(tick) for tick in ticks}) == len(ticks)
    if seconds >= 5:
        assert len(ticks) >= 5


def test_ticks_of_an_excerpt_are_round_times_of_the_file() -> None:
    assert time_ticks(83.4, 112).tolist() == [85, 90, 95, 100, 105, 110]


def test_few_frames_are_interpolated_and_many_averaged() -> None:
    np.testing.assert_allclose(resample_columns(np.array([0.2])), np.full(MAX_COLUMNS, 0.2))
    rising = resample_columns(np.array([0.0, 1.0]))
    assert np.all(np.diff(rising) >= 0)
    assert 0.4 < rising[MAX_COLUMNS // 2] < 0.6
    many = np.random.default_rng(0).random(50 * MAX_COLUMNS)
    np.testing.assert_allclose(resample_columns(many), many.reshape(MAX_COLUMNS, 50).mean(axis=1))
