"""`streamtag watch`: what a streamtag server tells, on the terminal, as lines or as messages."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from rich.console import Console

from streamtag.audio.source import SourceNotice
from streamtag.cli.reporter import Reporter
from streamtag.cli.running import run_command
from streamtag.cli.signals import SignalGuard
from streamtag.client.address import ServerAddress
from streamtag.client.subscriber import SubscriberClient
from streamtag.errors import SpecError
from streamtag.protocol.messages import Error, Frame, Gap, Hello, Message
from streamtag.protocol.selection import Selection
from streamtag.sinks.base import Sink
from streamtag.sinks.jsonl import JsonLines
from streamtag.terminal.lines import NamedLines, PlainLines
from streamtag.terminal.live_panel import can_draw
from streamtag.terminal.watch_panel import WatchPanel
from streamtag.text import format_time, plural

WAIT_S = 0.05  # how long the loop waits for a message before it looks at keys and signals


@dataclass(frozen=True)
class WatchRequest:
    """What the user asked for. None: not wanted, or all that there is."""

    url: str
    json: bool = False
    top: int | None = None
    tags: tuple[str, ...] | None = None
    token: str | None = None
    ca: Path | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise SpecError(f"--for must be a number of seconds above 0, not {self.seconds}")


class Output(Protocol):
    """Where the messages of one server go. A context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def write(self, message: Message) -> None: ...

    def notice(self, notice: SourceNotice) -> None: ...

    def wanted(self) -> bool:
        """Whether the user still wants it; asked often."""


class Lines:
    """Lines or messages on standard output; notices for people on standard error."""

    def __init__(self, sink: Sink, reporter: Reporter) -> None:
        self._sink = sink
        self._reporter = reporter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def write(self, message: Message) -> None:
        self._sink.write(message)

    def notice(self, notice: SourceNotice) -> None:
        self._reporter.note(notice.text)
        if notice.is_problem and isinstance(self._sink, JsonLines):  # its readers do not see standard error
            self._sink.write(Error(notice.text))

    def wanted(self) -> bool:
        return True


@dataclass
class Tally:
    """What came so far."""

    frames: int = 0
    dropped: int = 0
    gaps: int = 0
    lost_s: float = 0.0

    def count(self, message: Message) -> None:
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


def run(request: WatchRequest) -> int:
    """Watches until it is stopped. -> the exit code. Raises BrokenPipeError as run_reported does."""

    def work(reporter: Reporter, interruption: SignalGuard) -> None:
        with interruption:
            _run(request, reporter, interruption)

    return run_command(request.json, work)


def _run(request: WatchRequest, reporter: Reporter, interruption: SignalGuard) -> None:
    address, tally, began = ServerAddress.parse(request.url), Tally(), time.monotonic()
    until = began + (request.seconds or float("inf"))
    hello: Hello | None = None
    output: Output | None = None
    with SubscriberClient(address, request.token, request.ca) as subscription, ExitStack() as shown:
        while not interruption.wanted and time.monotonic() < until and (output is None or output.wanted()):
            arrival = subscription.read(WAIT_S)
            if isinstance(arrival, Hello) and (hello is None or arrival.tags != hello.tags):
                hello = arrival
                shown.close()
                output = shown.enter_context(_output(request, address, hello, reporter))
            if isinstance(arrival, SourceNotice):
                if output is None:
                    reporter.note(arrival.text)
                else:
                    output.notice(arrival)
            elif arrival is not None and output is not None:
                tally.count(arrival)
                output.write(arrival)
    reporter.note(f"{address.label}: watched for {format_time(time.monotonic() - began)}: {tally}")


def _output(request: WatchRequest, address: ServerAddress, hello: Hello, reporter: Reporter) -> Output:
    """Raises SpecError if a wanted tag is not one of the server's."""
    selection = Selection.of(hello.tags, hello.thresholds, names=request.tags, top=request.top)
    if request.json:
        return Lines(JsonLines(sys.stdout, selection), reporter)
    console = Console(stderr=True, highlight=False)
    if sys.stdout.isatty() and can_draw(console):
        return WatchPanel(console, selection, hello, address.label)
    lines = PlainLines if address.is_single_stream else NamedLines
    return Lines(lines(sys.stdout, selection), reporter)
