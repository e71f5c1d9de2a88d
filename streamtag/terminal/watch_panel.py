"""The live view for the messages of a server: the same panel, without the sound itself."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from rich.console import Console

from streamtag.audio.level_meter import Meter, Reading
from streamtag.audio.source import SourceNotice
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Frame, Gap, Hello, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.keys import Keys
from streamtag.terminal.live_panel import STREAMS, LivePanel, StatusInfo
from streamtag.text import plural

KEYS = "q quit   n next stream   space freeze"


class MeterSink:
    """A sink that counts a stream's frames and gaps in its meter."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:
        pass

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self._meter.add_frame(message.end, message.latency_s, message.dropped)
        elif isinstance(message, Gap):
            self._meter.add_gap(message.lost_s)

    def close(self) -> None:
        pass


class WatchPanel:
    """Draws while it is entered. Owned by the main thread, which asks `wanted` often: it looks at the keys."""

    def __init__(self, console: Console, selection: Selection, hello: Hello, label: str) -> None:
        self._selection = selection
        self._meters: dict[str, Meter] = {}
        self._newest: dict[str, int] = {}
        told = (f"model {hello.model}", hello.server)
        self._panel = LivePanel(console, selection, StatusInfo(self._reading, lambda: label, lambda: told, KEYS))
        self._keys = Keys(self._panel)
        self._quit = False
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        self._entered.enter_context(self._panel)
        self._entered.enter_context(self._keys)
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    def wanted(self) -> bool:
        while (key := self._keys.pressed()) is not None:
            if key == "q":
                self._quit = True
            elif key == "n":
                self._panel.next()
            elif key == " ":
                self._panel.freeze()
        return not self._quit

    def notice(self, notice: SourceNotice) -> None:
        self._panel.notice(notice)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:
        self._panel.begin(stream, timeline)

    def close(self) -> None:
        self._entered.close()

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            MeterSink(self._meter(message)).write(message)
        elif isinstance(message, Gap) and message.stream in self._meters:
            MeterSink(self._meters[message.stream]).write(message)
        self._panel.write(message)
        if isinstance(message, End):
            text = f"{message.stream}: ended after {plural(message.frames, 'frame')}"
            self._panel.notice(SourceNotice(text, is_problem=False))

    def _meter(self, frame: Frame) -> Meter:
        """The stream's; a new one where the stream begins anew."""
        if frame.frame <= self._newest.get(frame.stream, -1):
            del self._meters[frame.stream], self._newest[frame.stream]
        meter = self._meters.setdefault(frame.stream, Meter())
        self._newest[frame.stream] = frame.frame
        if len(self._meters) > STREAMS:
            oldest = next(iter(self._meters))
            del self._meters[oldest], self._newest[oldest]
        return meter

    def _reading(self, stream: str) -> Reading:
        """Asked by the thread that draws."""
        meter = self._meters.get(stream)
        return Reading() if meter is None else meter.reading()
