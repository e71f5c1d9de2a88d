"""What each view of the terminal looks like, at 80 x 24 and at 120 x 40 characters.

`python -m tests.renderings` rewrites the files that these tests compare with.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from streamtag.audio.level_meter import Meter
from streamtag.audio.source import AudioChunk, SourceNotice
from streamtag.cli.serve_output import table_snapshot
from streamtag.inference.events import EventDetector
from streamtag.inference.frame import TagFrame
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.model.concepts import TAG_CATEGORIES
from streamtag.protocol.messages import Concept, End, Event, Frame, Gap, Hello
from streamtag.protocol.selection import Selection
from streamtag.scheduler.stats import SchedulerStats, StreamStats
from streamtag.spec import ConceptSpec
from streamtag.terminal.file_view import FileProgressView
from streamtag.terminal.live_panel import LivePanel, StatusInfo, WatchPanel
from streamtag.terminal.model_card import CardView
from streamtag.terminal.stream_table import StreamRow, StreamsTable, TableSnapshot
from streamtag.terminal.stream_view import MeterSink
from streamtag.terminal.summary import SummaryTable
from tests.renderings import check_rendering
from tests.terminal.conftest import Screen

FOLDER = Path(__file__).with_name("renderings")
SIZES = ((80, 24), (120, 40))
HOP_S, SECONDS = 0.256, 72.6
NAMES = (
    *("guitar", "strings", "drums", "piano", "violin", "synth", "harpsichord", "flute", "sitar", "harp", "cello"),
    *("classical", "techno", "electronic", "rock", "ambient", "indian", "opera", "pop", "new age", "dance", "country"),
    *("vocals", "female vocals", "male vocals", "no vocals", "choir"),
    *("slow", "fast", "beat", "loud", "quiet", "soft", "solo", "weird"),
)
WITHOUT_EVIDENCE = {"flute", "sitar", "harp", "cello", "indian", "opera", "new age", "choir", "soft", "solo", "weird"}
PARTS: tuple[tuple[float, dict[str, float]], ...] = (  # of a song: from when on, and what is strong then
    (0.0, {"guitar": 0.62, "classical": 0.44, "slow": 0.41, "piano": 0.34, "no vocals": 0.3, "soft": 0.2}),
    (14.0, {"strings": 0.68, "violin": 0.66, "classical": 0.74, "slow": 0.3, "no vocals": 0.24}),
    (22.0, {"vocals": 0.55, "female vocals": 0.27, "classical": 0.35, "opera": 0.3}),
    (28.0, {"techno": 0.77, "electronic": 0.6, "beat": 0.58, "drums": 0.45, "synth": 0.39, "fast": 0.3}),
    (43.0, {"rock": 0.72, "guitar": 0.51, "drums": 0.33, "fast": 0.42, "loud": 0.38, "no vocals": 0.21}),
    (58.0, {"harpsichord": 0.72, "classical": 0.58, "strings": 0.3, "fast": 0.43, "no vocals": 0.2}),
)

pytestmark = pytest.mark.parametrize(("width", "height"), SIZES, ids=[f"{w}x{h}" for w, h in SIZES])


def _category(name: str) -> str:
    return "voice" if "vocals" in name else TAG_CATEGORIES.get(name, "mood")


CONCEPTS = tuple(
    Concept(name, _category(name), (name,), None if name in WITHOUT_EVIDENCE else 0.24 if name != "vocals" else 0.41)
    for name in NAMES
)
THRESHOLDS = (0.3,) * len(NAMES)


def select(**choice: Any) -> Selection:
    return Selection.of(NAMES, THRESHOLDS, CONCEPTS, **choice)


def song() -> NDArray[np.float64]:
    """[F, K]: concepts that come and go, with a little noise."""
    times = np.arange(round(SECONDS / HOP_S)) * HOP_S
    rng = np.random.default_rng(3)
    result = np.repeat(rng.uniform(0.01, 0.06, (1, len(NAMES))), len(times), axis=0)
    for start, strong in PARTS:
        end = min((other for other, _ in PARTS if other > start), default=SECONDS)
        envelope = np.clip((times - start) / 2, 0, 1) * np.clip((end + 1 - times) / 1, 0, 1)
        for name, value in strong.items():
            result[:, NAMES.index(name)] = np.maximum(result[:, NAMES.index(name)], value * envelope)
    return np.clip(result * (1 + 0.03 * rng.standard_normal(result.shape)), 0, 1)


def messages(stream: str = "evening_ride.mp3", until: float = SECONDS) -> list[Frame | Event]:
    detector = EventDetector(NAMES, [concept.threshold for concept in CONCEPTS])
    result: list[Frame | Event] = []
    for number, row in enumerate(song()):
        time = number * HOP_S
        if time > until:
            break
        values = dict(zip(NAMES, row.tolist(), strict=True))
        result.append(Frame(stream, number, time - HOP_S, time + HOP_S, values, 0.41, concepts=values))
        events = detector.update(row.astype(np.float32), time)
        result += [Event(stream, event.tag, event.state, event.time, event.tag) for event in events]
    return result


def timeline(name: str) -> Timeline:
    result = Timeline(name, select().labels)
    detector = EventDetector(NAMES, [concept.threshold for concept in CONCEPTS])
    for number, row in enumerate(song().astype(np.float32)):
        time = number * HOP_S
        result.add(TagFrame(number, time - HOP_S, time + HOP_S, row, concept_probs=row))
        detector.update(row, time)
    result.seconds = SECONDS
    result.present_s[len(NAMES) :] = detector.present_s(SECONDS)
    return result


def printed(screen: Screen, write: Callable[[SummaryTable], None], **options: Any) -> str:
    """What a summary writes to a terminal of the screen's size, without colours."""

    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    file = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"COLUMNS": screen.console.width, "LINES": screen.console.height}.items():
            patch.setenv(name, str(value))
        patch.setenv("TERM", "dumb")
        patch.setenv("NO_COLOR", "1")
        write(SummaryTable(file, select(**options.pop("choice", {})), **options))
    return file.getvalue()


def check(name: str, width: int, height: int, text: str) -> None:
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= width
    check_rendering(FOLDER / f"{name}-{width}x{height}.txt", "\n".join(lines))


def test_the_summary_of_a_file(width: int, height: int) -> None:
    def write(table: SummaryTable) -> None:
        stream = timeline("evening_ride.mp3")
        table.begin(StreamInfo(stream.name), stream)
        table.write(End(stream.name, SECONDS, len(stream), {}))

    text = printed(Screen(width, height), write)
    assert len(text.splitlines()) < height
    check("summary", width, height, text)
    check("summary_of_tags", width, height, printed(Screen(width, height), write, choice={"names": ["all"], "top": 8}))


def test_the_progress_of_a_file(width: int, height: int) -> None:
    screen = Screen(width, height)
    view = FileProgressView(screen.console, select(), screen.clock)
    view.begin(StreamInfo("evening_ride.mp3", 1, 12, SECONDS), timeline("evening_ride.mp3"))
    view.close()  # no thread draws in between: what is shown depends on when it was drawn before
    for message in messages(until=35.0):
        view.write(message)
        if isinstance(message, Frame) and message.frame % 8 == 7:
            screen.now += 1 / 8
            view.render()
    text = screen.text(view)
    assert len(text.splitlines()) < height
    check("file_progress", width, height, text)


def test_the_live_view(width: int, height: int) -> None:
    screen = Screen(width, height)
    meter = Meter(screen.clock)
    counted, sound = MeterSink(meter), 0.1 * np.sin(np.arange(4096) * 0.2).astype(np.float32)
    facts = ("streamtag 5x512 GRU, distilled", "cpu", "http://127.0.0.1:8765/ 2 subscribers")
    status = StatusInfo(lambda: "USB Audio, 48000 Hz, 2 channels", lambda: facts, "q quit   r reset   space freeze")
    panel = LivePanel(screen.console, select(), status, meter, screen.clock)
    for message in messages("mic", until=47.0):
        panel.write(message)
        counted.write(message)
        if isinstance(message, Frame):
            screen.now += HOP_S
            meter.add_chunk(AudioChunk(sound, screen.now))
            meter.add_work(0.004, len(sound))
            panel.render()
    check("live", width, height, screen.text(panel))
    panel.notify(SourceNotice("the microphone is gone: trying again"))
    for _ in range(3):
        screen.now += 3.0
        panel.render()
    check("live_without_sound", width, height, screen.text(panel))


def test_a_subscribers_view(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    screen = Screen(width, height)
    hello = Hello(
        *("streamtag 0.1.0", "streamtag 5x512 GRU, distilled", NAMES, 16000, 0.256, 0.512, 0.384, THRESHOLDS, CONCEPTS)
    )
    panel = WatchPanel(screen.console, select(), hello, "ws://127.0.0.1:8765/")
    panel.write(messages("hall", until=0.0)[0])
    for message in messages("stage left", until=20.0):
        panel.write(message)
    panel.write(Gap("hall", 0.5, 1.5))
    panel.write(End("song.mp3", SECONDS, 284, {}, {}, {"guitar": 30.0, "rock": 50.0, "quiet": 3.0}))
    panel.next_stream()
    text = screen.text(panel)
    check("watch", width, height, text)


def test_the_table_of_a_server(width: int, height: int) -> None:
    screen, now = Screen(width, height), SECONDS
    streams = [
        StreamStats("stage left", now, 0.031, 0.0, 0.0, True, False),
        StreamStats("evening_ride.mp3", 30.2, 0.002, 0.0, 0.0, False, False),
        StreamStats("a stream with a name that is far too long", 4000.0, 0.9, 0.0, 2.25, True, False),
        StreamStats("hall", 3.0, 0.0, 0.0, 0.0, True, True),
    ]
    streams += [StreamStats(f"room {number}", 10.0 + number, 0.02, 0.0, 0.0, True, False) for number in range(60)]
    stats = SchedulerStats(64, 1, 96, False, 1.0, 0, 0.0, 0.002, 0.37)
    snapshot = table_snapshot("http://127.0.0.1:8765/", stats, streams, 3)
    table = StreamsTable(screen.console, lambda: snapshot, select(), screen.clock)
    for name, until in (("stage left", 50.0), ("evening_ride.mp3", 30.0), (streams[2].name, 10.0), ("room 1", 20.0)):
        for message in messages(name, until):
            table.write(message)
    text = screen.text(table)
    assert len(text.splitlines()) < height
    check("server", width, height, text)


def test_the_table_of_stations(width: int, height: int) -> None:
    screen = Screen(width, height)
    rows = [
        StreamRow("radio.mp3", SECONDS, 0.108),
        StreamRow("jazz", 65.0, 0.061, "2 gaps, 12.4 s", "red"),
        StreamRow("a station with a name that is far too long", 41.0, None, "retrying", "yellow"),
        StreamRow("gone.aac", 0.0, None, "retrying", "yellow"),
        StreamRow("USB", 0.0, None, "failed", "red"),
        StreamRow("new.mp3", 0.0, None, "connecting"),
        StreamRow("stdin", 30.2, None, "ended"),
    ]
    snapshot = TableSnapshot("7 streams, 2 connected", "http://127.0.0.1:8765/ 3 subscribers", rows)
    table = StreamsTable(screen.console, lambda: snapshot, select(), screen.clock)
    for name, until in (("radio.mp3", 50.0), ("jazz", 30.0), (rows[2].name, 10.0)):
        for message in messages(name, until):
            table.write(message)
    check("stations", width, height, screen.text(table))


def test_the_model_card(width: int, height: int) -> None:
    concepts = [ConceptSpec(each.name, each.category, each.tags, threshold=each.threshold) for each in CONCEPTS[::3]]
    card = {
        "name": "streamtag 5x512 GRU, distilled",
        "description": "A tagger of 50 MagnaTagATune tags for continuous audio, distilled from three public taggers.",
        "licence": "CC BY-NC-SA 4.0",
        "trained_on": {"clips": 14000, "hours": 112.5},
        "scores": {"people": {"roc_auc": 0.847, "pr_auc": 0.4321}, "teachers": {"roc_auc": 0.922}},
        "per_concept": {name: {"roc_auc": 0.9, "positives": 31} for name in NAMES[::3]},
    }
    file = io.StringIO()
    tags = NAMES[::6]
    view = CardView(Path("streamtag/weights/streamtag.safetensors"), tags, THRESHOLDS[: len(tags)], concepts, card)
    view.print(Console(file=file, width=width, height=height, color_system=None))
    check("model", width, height, file.getvalue())
