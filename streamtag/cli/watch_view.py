"""Where `streamtag watch` writes messages, and its totals."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console

from streamtag.client.address import ServerAddress
from streamtag.protocol.messages import Frame, Gap, Hello, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink
from streamtag.sinks.jsonl import JsonLines
from streamtag.terminal.lines import PlainLines
from streamtag.terminal.live_panel import WatchPanel
from streamtag.text import plural, printable

MAX_NAMES = 8  # of streams in a notice
HISTORY_S = 40  # that a panel asks for: it shows the last half minute


def open_output(
    console: Console | None,
    json: bool,
    selection: Selection,
    address: ServerAddress,
    greeting: Hello,
    opened: ExitStack,
) -> tuple[Sink, WatchPanel | None]:
    """Return what messages are written to, and the panel if that is one: it is drawn until `opened` is closed."""
    if json:
        return JsonLines(sys.stdout, selection), None
    if console is not None:
        panel = opened.enter_context(WatchPanel(console, selection, greeting, address.label))
        return panel, panel
    return PlainLines(sys.stdout, selection, named=address.stream is None), None


def missing_stream(address: ServerAddress, greeting: Hello) -> str | None:
    """Return a line if the stream of the address does not run, and the server says which do; otherwise None."""
    if address.stream is None or greeting.streams is None or address.stream in greeting.streams:
        return None
    names = ", ".join(map(printable, greeting.streams[:MAX_NAMES]))
    others = f", and {len(greeting.streams) - MAX_NAMES} more" if len(greeting.streams) > MAX_NAMES else ""
    there = f"there are {names}{others}" if names else "there is none"
    return f"{printable(address.stream)}: no such stream now, {there}; waiting for it"


@dataclass
class Totals:
    """What has come so far."""

    frames: int = 0
    dropped: int = 0
    gaps: int = 0
    lost_s: float = 0.0

    def add(self, message: Message) -> None:
        if isinstance(message, Frame):
            self.frames += 1
            self.dropped += message.dropped
        elif isinstance(message, Gap):
            self.gaps += 1
            self.lost_s += message.lost_s

    def __str__(self) -> str:
        gaps = f", {self.lost_s:.1f} s lost in {plural(self.gaps, 'gap')}" if self.gaps else ""
        dropped = f", {self.dropped} dropped on the way" if self.dropped else ""
        return f"{plural(self.frames, 'frame')}{gaps}{dropped}"
