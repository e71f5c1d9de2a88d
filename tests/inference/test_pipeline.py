"""One stream as messages, in order."""

from __future__ import annotations

import numpy as np
import pytest

from streamtag.api import Tagger
from streamtag.inference.events import EventDetector
from streamtag.inference.pipeline import StreamPipeline
from streamtag.inference.session import Session
from streamtag.protocol.messages import End, Error, Frame, Gap, Message


@pytest.fixture
def messages() -> list[Message]:
    return []


@pytest.fixture
def pipeline(tagger: Tagger, messages: list[Message]) -> StreamPipeline:
    detector = EventDetector(tagger.tags, (0.0,) * len(tagger.tags))  # every tag is on from the first frame
    return StreamPipeline("mic", Session(tagger), detector, messages.append)


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
    events = [message for message in messages if message.type == "event"]
    assert len(events) == 2 * len(tagger.tags)  # each tag is on once, and off at the end


def test_a_stream_without_frames_has_an_empty_summary(pipeline: StreamPipeline, messages: list[Message]) -> None:
    pipeline.end()
    assert messages == [End("mic", 0.0, 0, {})]
