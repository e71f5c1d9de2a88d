"""The live view of streams without end: drawn on the terminal at its own rate, by a thread that only looks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import RLock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.live import Live

from streamtag.audio.level_meter import Reading
from streamtag.audio.source import SourceNotice
from streamtag.inference.timeline import StreamInfo, Timeline
from streamtag.protocol.messages import End, Error, Frame, Message
from streamtag.protocol.selection import Selection
from streamtag.terminal.bars import Smoother, strokes_for
from streamtag.terminal.history import History
from streamtag.terminal.live_view import ViewModel, draw
from streamtag.text import printable

REDRAWS = 5  # a second
STALE_S = 2.0  # without a frame for so long the bars fall
NOTICE_S = 15.0  # how long a notice is shown that is not of trouble
STREAMS = 256  # that are known at most; the one that was heard least lately goes first


def can_draw(console: Console) -> bool:
    """Whether it is a terminal on which lines can be drawn over."""
    return console.is_terminal and not console.is_dumb_terminal


@dataclass(frozen=True)
class StatusInfo:
    """What is told beside the tags. reading: of a stream, by its name; about: where the sound comes from.

    told: short things that may change, such as the model, the address and the number of subscribers.
    """

    reading: Callable[[str], Reading]
    about: Callable[[], str] = str
    told: Callable[[], tuple[str, ...]] = tuple
    keys: str = ""


class StreamView:
    """What is kept of one stream. heard_at: when its last frame came, s of the clock."""

    def __init__(self, tags: int) -> None:
        self.heard_at = -math.inf
        self.ended = False
        self.smoothed = Smoother(tags)
        self.history = History(tags)
        self.latest = np.zeros(tags)

    def add(self, number: int, probs: NDArray[np.floating], now: float) -> None:
        self.heard_at, self.ended = now, False
        self.latest = probs.astype(np.float64)
        self.smoothed.add(self.latest)
        self.history.add(number, self.latest)

    def settle(self) -> None:
        """Another stream was shown meanwhile: what came then is not drawn out."""
        self.smoothed = Smoother(len(self.latest))
        self.smoothed.add(self.latest)
        self.smoothed.look(1e9)


class LivePanel:
    """Shows one of the streams that it is told of. Entered, it covers the terminal; left, the screen is as before.

    hide and show: the same for a while, as when the program is stopped. Any thread may tell it something.
    """

    def __init__(
        self, console: Console, selection: Selection, facts: StatusInfo, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._selection = selection
        self._facts = facts
        self._clock = clock
        self._lock = RLock()
        self._strokes = strokes_for(console.encoding)
        self._live: Live | None = None
        self._streams: dict[str, StreamView] = {}
        self._chosen: str | None = None
        self._looked = clock()
        self._notice: tuple[SourceNotice, float] | None = None
        self._passing = False
        self._frozen: ViewModel | None = None

    def __enter__(self) -> Self:
        self.show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide()

    @property
    def is_shown(self) -> bool:
        """Whether it covers the terminal now."""
        return self._live is not None

    def show(self) -> None:
        """On the terminal's second screen: what is there stays right when the window changes its size."""
        if self._live is not None:
            return
        # Results go to standard output by other ways: nothing may be caught and drawn here.
        self._live = Live(
            console=self._console,
            screen=True,
            refresh_per_second=REDRAWS,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self.render,
        )
        self._live.start(refresh=True)

    def hide(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    # --- what is told -------------------------------------------------------------------------------------------

    def begin(self, stream: StreamInfo, timeline: Timeline) -> None:  # noqa: ARG002
        with self._lock:
            self._known(stream.name)

    def close(self) -> None:
        self.hide()

    def write(self, message: Message) -> None:
        if isinstance(message, Frame):
            self.probs(message.stream, message.frame, self._selection.probs(message))
        elif isinstance(message, End):
            self.gone(message.stream)
        elif isinstance(message, Error):
            self.error(message)

    def probs(self, stream: str, number: int, probs: NDArray[np.floating]) -> None:
        """probs [P] of one frame of a stream."""
        with self._lock:
            self._known(stream).add(number, probs, self._clock())
            self._replace_ended()
            if self._passing and self._notice is not None and self._notice[0].is_problem:
                self._notice = (replace(self._notice[0], is_problem=False), self._clock())

    def gone(self, stream: str) -> None:
        """A stream has ended: another takes its place as soon as there is one."""
        with self._lock:
            if stream in self._streams:
                self._streams[stream].ended = True
                self._replace_ended()

    def error(self, error: Error) -> None:
        """Trouble of a stream: over when its frames come again, since nobody tells of that."""
        with self._lock:
            if self._notice is None or not self._notice[0].is_problem or self._notice[0].text != error.message:
                self.notice(SourceNotice(error.message))
                self._passing = True

    def notice(self, notice: SourceNotice) -> None:
        """Trouble is shown until the next notice, anything else for a while."""
        with self._lock:
            self._notice, self._passing = (notice, self._clock()), False

    def freeze(self) -> None:
        """The display stands still, or moves again; everything else goes on."""
        with self._lock:
            self._frozen = self._picture() if self._frozen is None else None

    def next(self) -> None:
        """Shows the next stream."""
        with self._lock:
            names = sorted(self._streams)
            if names:
                place = names.index(self._chosen) + 1 if self._chosen in self._streams else 0
                self._chosen = names[place % len(names)]
                self._streams[self._chosen].settle()
                self._frozen = None

    def _known(self, name: str) -> StreamView:
        shown = self._streams.pop(name, None) or StreamView(len(self._selection.tags))
        self._streams[name] = shown  # the last of them: it was heard latest
        if len(self._streams) > STREAMS:
            del self._streams[next(other for other in self._streams if other != self._chosen)]
        if self._chosen is None:
            self._chosen = name
        return shown

    def _replace_ended(self) -> None:
        """While there is a stream that goes on, those that have ended are not shown."""
        going_on = {name: shown for name, shown in self._streams.items() if not shown.ended}
        if going_on:
            self._streams = going_on
            if self._chosen not in going_on:
                self._chosen = next(reversed(going_on))  # the one that was heard latest
                going_on[self._chosen].settle()

    # --- what is drawn ------------------------------------------------------------------------------------------

    def render(self) -> RenderableType:
        """The view as it is now."""
        width, height = self._console.size
        with self._lock:
            picture = self._picture()
            if self._frozen is not None:
                picture = replace(self._frozen, frozen=True, notice=picture.notice, trouble=picture.trouble)
        return Group(*draw(picture, self._selection, self._strokes, width, height))

    def _picture(self) -> ViewModel:
        now = self._clock()
        elapsed, self._looked = now - self._looked, now
        shown = self._streams.get(self._chosen) if self._chosen is not None else None
        if shown is None:
            shown = StreamView(len(self._selection.tags))
        waiting = now - shown.heard_at > STALE_S
        if waiting:
            shown.smoothed.add(np.zeros(len(shown.latest)))
        shown.smoothed.look(elapsed)
        others = len(self._streams) - 1
        notice = self._current(now)
        name = self._chosen or ""
        return ViewModel(
            stream=printable(name) + (f" (+{others})" if others > 0 else ""),
            about=printable(self._facts.about()),
            reading=self._facts.reading(name),
            bars=shown.smoothed.bars.copy(),
            order=shown.smoothed.order.copy(),
            cells=shown.history.cells,
            facts=tuple(map(printable, self._facts.told())),
            keys=self._facts.keys,
            notice=None if notice is None else printable(notice.text),
            trouble=notice is not None and notice.is_problem,
            waiting=waiting,
        )

    def _current(self, now: float) -> SourceNotice | None:
        if self._notice is None:
            return None
        notice, since = self._notice
        return notice if notice.is_problem or now - since < NOTICE_S else None
