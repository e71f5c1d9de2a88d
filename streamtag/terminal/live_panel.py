"""The live view of endless streams: its state, drawn on the terminal at its own rate."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from threading import RLock
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.text import Text

from streamtag.audio.level_meter import Meter
from streamtag.audio.source import SourceNotice
from streamtag.inference.presence import end_verdict
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Error, Event, Frame, Gap, Hello, History, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.keys import Keys
from streamtag.terminal.live_view import ViewModel, draw
from streamtag.terminal.stream_view import StreamView
from streamtag.terminal.summary import ended_line, verdict_line
from streamtag.terminal.widgets import LiveView, glyphs_for
from streamtag.text import printable

REDRAWS_PER_S = 5
STALE_AFTER_S = 2.0  # without a frame for so long the bars fall
NOTICE_TIME_S = 15.0  # how long a notice that is no problem is shown
MAX_STREAMS = 256  # beyond it the one without a frame for the longest time is forgotten
MAX_ENDED = 20  # streams of which the verdict is printed at the end
WATCH_KEYS = "q quit   n next stream   space freeze"


@dataclass(frozen=True)
class StatusInfo:
    """What is shown beside the tags. source: where the audio comes from; keys: a line of help.

    facts: short texts that may change, such as the model, the address and the number of subscribers.
    """

    source: Callable[[], str] = str
    facts: Callable[[], tuple[str, ...]] = tuple
    keys: str = ""


class LivePanel(LiveView):
    """A sink that shows one of the streams that it gets. While entered it covers the terminal. Thread-safe.

    `hide` and `show` uncover the terminal for a while, as when the program is stopped. actions: what keys do, while it
    is entered and the main thread calls `stop_requested` often.
    """

    def __init__(
        self,
        console: Console,
        selection: Selection,
        status: StatusInfo,
        meter: Meter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """meter: that of the only stream, if the audio is measured here too; None: messages are all there is."""
        super().__init__(console, REDRAWS_PER_S, screen=True)
        self._selection = selection
        self._status = status
        self._meter = meter
        self._clock = clock
        self._lock = RLock()
        self.actions: dict[str, Callable[[], None]] = {"q": self._quit, " ": self.toggle_freeze}
        self._keys = Keys(self)
        self._has_quit = False
        self._entered = ExitStack()
        self._glyphs = glyphs_for(console.encoding)
        self._streams: dict[str, StreamView] = {}  # the latest to get a frame is the last
        self._chosen: str | None = None
        self._drawn_at = clock()
        self._notice: tuple[SourceNotice, float] | None = None
        self._ends_with_frame = False  # the problem that is shown
        self._frozen: ViewModel | None = None

    def __enter__(self) -> Self:
        self._entered.callback(self.hide)
        self.show()
        self._entered.enter_context(self._keys)
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    def stop_requested(self) -> bool:
        """Handle the keys that were pressed, and return whether the user has quit."""
        while (key := self._keys.read()) is not None:
            if key in self.actions:
                self.actions[key]()
        return self._has_quit

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        with self._lock:
            self._view(stream.name)

    def write(self, message: Message) -> None:
        with self._lock:
            if isinstance(message, Frame):
                self._view(message.stream).add(message, self._clock())
                self._replace_ended()
                if self._ends_with_frame and self._notice is not None and self._notice[0].is_problem:
                    self._notice = (replace(self._notice[0], is_problem=False), self._clock())
            elif isinstance(message, History):
                self._view(message.stream).add_history(message)
            elif isinstance(message, Event) and message.stream in self._streams:
                self._streams[message.stream].add_event(message)
            elif isinstance(message, Gap) and message.stream in self._streams:
                self._streams[message.stream].add_gap(message)
            elif isinstance(message, End):
                if message.stream in self._streams:
                    self._streams[message.stream].has_ended = True
                    self._replace_ended()
                self.notify(SourceNotice(ended_line(message, self._selection), is_problem=False))
            elif isinstance(message, Error):
                self._show_error(message)

    def notify(self, notice: SourceNotice) -> None:
        """Show a notice: a problem until the next notice, anything else for a while."""
        with self._lock:
            self._notice, self._ends_with_frame = (notice, self._clock()), False

    def toggle_freeze(self) -> None:
        """Stop or restart the display; everything else goes on."""
        with self._lock:
            self._frozen = self._model() if self._frozen is None else None

    def next_stream(self) -> None:
        """Show the next stream by name."""
        with self._lock:
            names = sorted(self._streams)
            if names:
                place = names.index(self._chosen) + 1 if self._chosen in self._streams else 0
                self._chosen = names[place % len(names)]
                self._streams[self._chosen].settle()
                self._frozen = None

    def render(self) -> RenderableType:
        width, height = self._console.size
        with self._lock:
            model = self._model()
            if self._frozen is not None:
                model = replace(self._frozen, is_frozen=True, notice=model.notice, is_problem=model.is_problem)
        return Group(*draw(model, self._selection, self._glyphs, width, height))

    def _quit(self) -> None:
        self._has_quit = True

    def _show_error(self, error: Error) -> None:
        """Show a stream's problem until its frames come again, since no message says that it is over."""
        if self._notice is None or not self._notice[0].is_problem or self._notice[0].text != error.message:
            self.notify(SourceNotice(error.message))
            self._ends_with_frame = True

    def _view(self, name: str) -> StreamView:
        view = self._streams.pop(name, None) or StreamView(self._selection)
        self._streams[name] = view
        if len(self._streams) > MAX_STREAMS:
            del self._streams[next(other for other in self._streams if other != self._chosen)]
        if self._chosen is None:
            self._chosen = name
        return view

    def _replace_ended(self) -> None:
        """Forget the streams that have ended while there is another one."""
        running = {name: view for name, view in self._streams.items() if not view.has_ended}
        if running:
            self._streams = running
            if self._chosen not in running:
                self._chosen = next(reversed(running))
                running[self._chosen].settle()

    def _model(self) -> ViewModel:
        now = self._clock()
        elapsed_s, self._drawn_at = now - self._drawn_at, now
        name = self._chosen or ""
        view = self._streams.get(name) or StreamView(self._selection)
        is_waiting = now - view.updated_at > STALE_AFTER_S
        if is_waiting:
            view.fall()
        view.advance(elapsed_s)
        others = len(self._streams) - 1
        notice = self._current_notice(now)
        return ViewModel(
            stream=printable(name) + (f" (+{others})" if others > 0 else ""),
            source=printable(self._status.source()),
            reading=view.reading if self._meter is None else self._meter.reading(),
            values=view.values,
            facts=tuple(map(printable, self._status.facts())),
            keys=self._status.keys,
            notice=None if notice is None else printable(notice.text),
            is_problem=notice is not None and notice.is_problem,
            is_waiting=is_waiting,
        )

    def _current_notice(self, now: float) -> SourceNotice | None:
        if self._notice is None:
            return None
        notice, since = self._notice
        return notice if notice.is_problem or now - since < NOTICE_TIME_S else None


class WatchPanel(LivePanel):
    """The live view of a server's messages."""

    def __init__(self, console: Console, selection: Selection, hello: Hello, label: str) -> None:
        """label: of the server."""
        facts = (f"model {hello.model}", hello.server)
        super().__init__(console, selection, StatusInfo(lambda: label, lambda: facts, WATCH_KEYS))
        self.actions["n"] = self.next_stream
        self._ended: deque[Text] = deque(maxlen=MAX_ENDED)

    def __exit__(self, *error: object) -> None:
        """Uncover the terminal, and print what was present in the streams that have ended meanwhile."""
        super().__exit__(*error)
        for line in self._ended:
            self._console.print(line, soft_wrap=True)
        self._ended.clear()

    def write(self, message: Message) -> None:
        super().write(message)
        if isinstance(message, End):
            verdict = end_verdict(message, self._selection)
            self._ended.append(verdict_line(printable(message.stream), message.seconds, verdict))
