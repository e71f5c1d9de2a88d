"""One stream as messages, in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamtag.api import Tagger, load
from streamtag.inference.events import EventDetector
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Message


@pytest.fixture
def messages() -> list[Message]:
    return []


@pytest.fixture
def pipeline(tagger: Tagger, messages: list[Message]) -> StreamPipeline:
    thresholds = (0.0,) * len(tagger.concepts)  # every concept is on from the first frame
    return StreamPipeline("mic", Session(tagger), messages.append, thresholds)


def test_messages_are_published_in_order_and_the_summary_holds_the_means(
    pipeline: StreamPipeline, messages: list[Message], tagger: Tagger
) -> None:
    pipeline.feed(np.ones(16000, np.float32))
    pipeline.insert_gap(16000)
    pipeline.report_error("unplugged")
    pipeline.feed(np.ones(8000, np.float32))
    pipeline.end()
    kinds = [message.type for message in messages if message.type != "event"]
    assert kinds[kinds.index("gap") + 1 :].index("error") < kinds[kinds.index("gap") + 1 :].index("end")
    assert [message for message in messages if isinstance(message, Gap)] == [Gap("mic", 1.0, 1.0)]
    assert Error("unplugged", "mic") in messages
    frames = [message for message in messages if isinstance(message, Frame)]
    end = messages[-1]
    assert isinstance(end, End)
    assert (end.seconds, end.frames) == (2.5, len(frames))
    assert end.frames == len(pipeline.timeline)
    tag = tagger.tags[0]
    assert end.summary[tag] == pytest.approx(np.mean([frame.tags[tag] for frame in frames]), abs=1e-6)
    assert end.present_s == pytest.approx({concept.name: 2.5 for concept in tagger.concepts})
    events = [message for message in messages if message.type == "event"]
    assert len(events) == 2 * len(tagger.concepts)  # each is on once, and off at the end


def test_events_are_about_concepts_with_the_thresholds_of_the_model(
    concept_model: Path, messages: list[Message]
) -> None:
    tagger = load(concept_model, "cpu")
    pipeline = StreamPipeline("mic", Session(tagger), messages.append)
    rng = np.random.default_rng(5)
    for _ in range(12):
        pipeline.feed((rng.uniform(0, 0.5) * rng.standard_normal(16000)).astype(np.float32))
    pipeline.end()
    frames = [message for message in messages if isinstance(message, Frame)]
    names = [concept.name for concept in tagger.concepts]
    detector = EventDetector(names, [concept.threshold for concept in tagger.concepts])
    expected = []
    for frame in frames:
        assert list(frame.concepts) == names
        values = np.array(list(frame.concepts.values()), np.float32)
        expected += detector.update(values, (frame.start + frame.end) / 2)
    expected += detector.close(12.0)
    events = [message for message in messages if isinstance(message, Event)]
    assert [(event.tag, event.state, event.time) for event in events] == expected
    assert {event.state for event in events} == {"on", "off"}
    assert all(event.concept == event.tag != "rare" for event in events)  # which has no threshold
    end = messages[-1]
    assert isinstance(end, End)
    means = {name: np.mean([frame.concepts[name] for frame in frames]) for name in names}
    assert end.concepts == pytest.approx(means, abs=1e-6)
    present_s = dict.fromkeys((event.tag for event in events), 0.0)
    for event in events:
        present_s[event.tag] += -event.time if event.state == "on" else event.time
    assert end.present_s == pytest.approx(present_s)
    tags, concepts = pipeline.timeline.present_s[: len(tagger.tags)], pipeline.timeline.present_s[len(tagger.tags) :]
    assert not tags.any()
    assert dict(zip(names, concepts.tolist(), strict=True)) == pytest.approx({**dict.fromkeys(names, 0.0), **present_s})


def test_a_stream_without_frames_has_an_empty_summary(pipeline: StreamPipeline, messages: list[Message]) -> None:
    pipeline.end()
    assert messages == [End("mic", 0.0, 0, {})]
