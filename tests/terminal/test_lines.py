"""Lines for logs and pipes."""

from __future__ import annotations

import io

from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Hello
from streamtag.protocol.selection import Selection
from streamtag.terminal.lines import MAX_LABELS, PlainLines

NAMES = ("guitar", "slow", "drums", "male vocal", "piano", "harp")
PROBS = (0.9, 0.1, 0.6, 0.2, 0.3, 0.05)


class Flushed(io.StringIO):
    """Counts how often it was flushed."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1


def _frame(number: int, stream: str = "mic", scale: float = 1.0) -> Frame:
    tags = {name: scale * prob for name, prob in zip(NAMES, PROBS, strict=True)}
    return Frame(stream, number, 0.256 * number - 0.256, 0.256 * number + 0.256, tags)


def _lines(**wanted: object) -> tuple[PlainLines, Flushed]:
    file = Flushed()
    return PlainLines(file, Selection.of(NAMES, (0.5,) * 6, **wanted)), file  # type: ignore[arg-type]


def test_one_line_per_second_with_the_mean_of_its_frames() -> None:
    lines, file = _lines(top=2)
    for number in range(12):  # up to 2.8 s
        lines.write(_frame(number, scale=1.0 if number % 4 < 2 else 0.5))
    assert file.getvalue().splitlines() == ["0:00  guitar 0.68  drums 0.45", "0:01  guitar 0.68  drums 0.45"]
    assert file.flushes == 2


def test_five_tags_are_printed_unless_some_are_selected() -> None:
    for chosen, count in (({}, MAX_LABELS), ({"names": ["harp", "piano"]}, 2)):
        lines, file = _lines(**chosen)
        for number in range(6):
            lines.write(_frame(number))
        (line,) = file.getvalue().splitlines()
        assert len(line.split("  ")) == count + 1
        assert ("piano 0.30  harp 0.05" in line) == (count == 2)


def test_events_gaps_errors_and_the_end_have_their_own_lines() -> None:
    lines, file = _lines(top=1)
    lines.write(_frame(0))
    lines.write(Event("mic", "guitar", "on", 0.3))
    lines.write(Gap("mic", 0.5, 61.25))
    lines.write(_frame(243))
    lines.write(Error("unplugged: trying again", "mic"))
    lines.write(End("mic", 62.6, 3, {}, {}, {"guitar": 60.0}))
    assert file.getvalue().splitlines() == [
        "0:00  guitar on",
        "0:00  guitar 0.90",
        "0:00  gap: 61.25 s lost",
        "mic: unplugged: trying again",
        "1:02  guitar 0.90",
        "1:03  end, 3 frames: guitar",
    ]


def test_events_at_the_end_follow_the_last_second() -> None:
    lines, file = _lines(top=1)
    lines.write(_frame(4))  # at 1.024 s
    lines.write(Event("mic", "guitar", "on", 1.024))
    lines.write(Event("mic", "guitar", "off", 2.0))
    lines.write(End("mic", 2.0, 1, {}))
    assert file.getvalue().splitlines() == [
        "0:01  guitar on",
        "0:01  guitar 0.90",
        "0:02  guitar off",
        "0:02  end, 1 frame: nothing certain",
    ]


def test_events_of_other_tags_are_left_out() -> None:
    lines, file = _lines(names=["harp"])
    lines.write(Event("mic", "guitar", "on", 0.3))
    lines.write(Event("mic", "harp", "off", 0.3))
    lines.write(Hello("streamtag", "m", NAMES, 16000, 0.256, 0.512, 0.384, (0.5,) * 6))
    assert file.getvalue() == "0:00  harp off\n"


def test_each_stream_of_a_server_has_its_own_lines() -> None:
    file = Flushed()
    lines = PlainLines(file, Selection.of(NAMES, (0.5,) * 6, top=1), named=True)
    for number in range(6):
        lines.write(_frame(number, "a"))
        lines.write(_frame(number, "b", 0.5))
    lines.write(Error("full"))
    assert file.getvalue().splitlines() == ["a  0:00  guitar 0.90", "b  0:00  guitar 0.45", "full"]


def test_missing_tags_count_as_zero_and_control_characters_are_replaced() -> None:
    lines, file = _lines(top=1)
    lines.write(Frame("mic", 0, -0.256, 0.256, {"harp": 0.4, "unheard of": 1.0}))
    lines.write(Error("\x1b[2J\ngone", "\x07mic"))
    lines.write(End("mic", 0.3, 1, {}))
    assert file.getvalue() == "?mic: ?[2J?gone\n0:00  harp 0.40\n0:00  end, 1 frame: nothing certain\n"
