"""What a meter needs to know of a stream's results."""

from __future__ import annotations

from streamtag.audio.level_meter import Meter
from streamtag.inference.frame import TagFrame
from streamtag.protocol.messages import Gap
from streamtag.sinks.base import SilentSink, Stream


class MeterSink(SilentSink):
    """Tells the meter of frames and gaps; the sound and the work are told by those who do it."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def frame(self, stream: Stream, frame: TagFrame) -> None:  # noqa: ARG002
        self._meter.add_frame(frame.end, frame.latency_s)

    def gap(self, gap: Gap) -> None:
        self._meter.add_gap(gap.lost_s)
