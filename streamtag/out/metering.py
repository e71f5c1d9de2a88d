"""What a meter needs to know of a stream's results."""

from __future__ import annotations

from streamtag.live.frame import TagFrame
from streamtag.live.meter import Meter
from streamtag.message import Gap
from streamtag.out.sink import SilentSink, Stream


class Metering(SilentSink):
    """Tells the meter of frames and gaps; the sound and the work are told by those who do it."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def frame(self, stream: Stream, frame: TagFrame) -> None:  # noqa: ARG002
        self._meter.frame(frame.end, frame.latency_s)

    def gap(self, gap: Gap) -> None:
        self._meter.lost(gap.lost_s)
