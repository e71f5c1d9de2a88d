"""The table of a server's streams on a terminal: who sends, how far it is, what is heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Frame, Message
from streamtag.scheduler.stats import SchedulerStats, StreamStats
from streamtag.text import format_time, plural

REDRAW_S = 0.5
AROUND = 5  # lines of the terminal that are not for streams
TAGS = 3  # strongest tags of a stream


@dataclass(frozen=True)
class ServerSnapshot:
    """How the server stands when the table is drawn."""

    load: SchedulerStats
    streams: Sequence[StreamStats]
    subscribers: int


class StreamsTable:
    """Entered, the streams stand below, and lines for people scroll by above. Owned by one thread, which says when
    to look; nothing is drawn more often than twice a second.
    """

    def __init__(
        self,
        console: Console,
        address: str,
        look: Callable[[], ServerSnapshot],
        tags: int = TAGS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """address: of the server. tags: how many of a stream's are shown."""
        self._console = console
        self._address = address
        self._look = look
        self._tags = tags
        self._clock = clock
        self._frames: dict[str, Frame] = {}  # the newest of each stream
        self._drawn = float("-inf")
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """The table goes, the lines stay."""
        self._live.stop()

    def note(self, text: str) -> None:
        self._console.print(Text(f"streamtag: {text}"), soft_wrap=True)

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:
        pass

    def close(self) -> None:
        pass

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self._frames[message.stream] = message
        elif isinstance(message, End):
            self._frames.pop(message.stream, None)

    def draw(self) -> None:
        """If it is time."""
        now = self._clock()
        if now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._live.update(self.render(), refresh=True)

    def render(self) -> RenderableType:
        room = self._look()
        most = max(1, self._console.height - AROUND)
        shown = room.streams[:most]
        table = Table(box=None, pad_edge=False, show_header=bool(shown), header_style="dim")
        table.add_column("stream", max_width=28, no_wrap=True, overflow="ellipsis")
        table.add_column("heard", justify="right")
        table.add_column("lag", justify="right")
        table.add_column("", no_wrap=True)
        table.add_column("tags", no_wrap=True, overflow="ellipsis")
        for stream in shown:
            lag = "" if stream.is_disconnected else f"{1000 * stream.lag_s:.0f} ms"
            table.add_row(
                Text(stream.name), format_time(stream.seconds), lag, _state(stream), self._strongest(stream.name)
            )
        more = len(room.streams) - len(shown)
        rest = [Text(f"and {more} more", style="dim")] if more else []
        return Group(self._title(room), *([table] if shown else []), *rest)

    def _title(self, room: ServerSnapshot) -> Text:
        load = room.load
        text = Text(f"{self._address}  {load.streams} of {plural(load.capacity, 'stream')}", style="bold")
        text.append(f"  {plural(room.subscribers, 'subscriber')}  {load.utilization:.0%} busy", style="not bold")
        if load.is_degraded:
            text.append("  behind: no new streams", style="bold red")
        return text

    def _strongest(self, name: str) -> Text:
        frame = self._frames.get(name)
        if frame is None:
            return Text("")
        strongest = sorted(frame.tags.items(), key=lambda item: -item[1])[: self._tags]
        return Text("  ".join(f"{tag} {value:.0%}" for tag, value in strongest))


def _state(stream: StreamStats) -> Text:
    if stream.is_disconnected:
        return Text("away", style="yellow")
    if stream.shed_s:
        return Text(f"{stream.shed_s:.1f} s lost", style="red")
    return Text("" if stream.is_live else "file", style="dim")
