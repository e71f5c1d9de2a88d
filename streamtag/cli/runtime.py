"""How every command runs: errors and notices, signals, exit codes, the greeting of a stream, and `--serve`."""

from __future__ import annotations

import gc
import io
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, TextIO

from streamtag import __version__
from streamtag.cli.options import Verbosity, names_in
from streamtag.errors import SpecError, StreamtagError
from streamtag.text import is_loopback, plural, usable_cores

if TYPE_CHECKING:
    from rich.console import Console

    from streamtag.api import Tagger
    from streamtag.audio.source import SourceNotice
    from streamtag.protocol.messages import Hello, Message
    from streamtag.protocol.selection import Selection
    from streamtag.server.config import ServerConfig
    from streamtag.server.thread import ServerThread
    from streamtag.terminal.live_panel import LivePanel
    from streamtag.terminal.stream_table import StreamsTable

SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEAT_S = 0.3  # `timeout` sends its signal twice, to the program and to its group: that is one request


class Reporter:
    """Reports errors, notices and details, one line each, and publishes errors as messages too.

    They are printed, or given to the view while it is shown. Any thread may report.
    """

    def __init__(self, file: TextIO, verbosity: Verbosity = Verbosity.normal) -> None:
        self.has_failed = False
        self.view: LivePanel | StreamsTable | None = None
        self.verbosity = verbosity
        self.publish_to: list[Callable[[Message], None]] = []
        self._file = file

    def error(self, error: StreamtagError) -> None:
        self.fail(str(error))
        self.publish(error)

    def fail(self, text: str) -> None:
        """Report an error that is published elsewhere."""
        self.has_failed = True
        self._show(text)

    def publish(self, error: StreamtagError) -> None:
        from streamtag.protocol.messages import Error

        for publish in self.publish_to:
            publish(Error(str(error)))

    def note(self, text: str) -> None:
        """Report a notice, unless --quiet is given."""
        if self.verbosity >= Verbosity.normal:
            self._show(text)

    def notify(self, notice: SourceNotice) -> None:
        """Report a notice in the way of its kind."""
        if self.view is not None and self.view.is_shown:
            self.view.notify(notice)
        else:
            self.note(notice.text)

    def detail(self, text: str) -> None:
        """Report what --verbose asks for."""
        if self.verbosity >= Verbosity.verbose:
            self._show(text, is_problem=False)

    def may_draw(self, json: bool) -> bool:
        """Return False if there is to be no view, or if it and the messages would share one terminal."""
        return self.verbosity >= Verbosity.normal and not (json and sys.stdout.isatty())

    def view_console(self, json: bool) -> Console | None:
        """Return the terminal for a view, or None if there is none or it may not draw."""
        if not (self.may_draw(json) and sys.stderr.isatty()):
            return None
        from rich.console import Console

        from streamtag.terminal.widgets import can_draw

        console = Console(stderr=True, highlight=False)
        return console if can_draw(console) else None

    def _show(self, text: str, *, is_problem: bool = True) -> None:
        if self.view is not None and self.view.is_shown:
            from streamtag.audio.source import SourceNotice

            self.view.notify(SourceNotice(text, is_problem))
        else:
            print(f"streamtag: {text}", file=self._file, flush=True)


class SignalGuard:
    """Notes the first Ctrl-C or SIGTERM while it is entered, so that no result is cut in the middle of a write.

    The work checks `stop_requested` between its steps. A second signal raises KeyboardInterrupt at once, unless it
    comes within REPEAT_S of the first. Signals that are ignored (as in a shell's background jobs) stay ignored.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._number: int | None = None
        self._received_at = 0.0
        self._previous: dict[int, Any] = {}

    @property
    def stop_requested(self) -> bool:
        return self._number is not None

    @property
    def exit_code(self) -> int:
        """As shells count: 130 for Ctrl-C, 143 for SIGTERM; 0 without a signal."""
        return 0 if self._number is None else 128 + self._number

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._number is None:
            self._number, self._received_at = number, self._clock()
        elif self._clock() > self._received_at + REPEAT_S:
            raise KeyboardInterrupt


def run_command(
    json: bool, work: Callable[[Reporter, SignalGuard], None], verbosity: Verbosity = Verbosity.normal
) -> int:
    """Do the work, report its errors, and return the exit code: 0, 1, or 130 and 143 after a signal.

    json: standard output holds messages, errors too. The work enters the guard where it can be stopped cleanly.
    Raises BrokenPipeError when the reader of standard output is gone, and SpecError for what is wrong on the command
    line, after publishing it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files and streams may be in any script
        sys.stdout.reconfigure(encoding="utf-8" if json else None, errors="replace")
    reporter, guard, start = Reporter(sys.stderr, verbosity), SignalGuard(), time.monotonic()
    reporter.detail(f"streamtag {__version__}, Python {platform.python_version()}, {platform.platform()}")
    if json:
        from streamtag.sinks.jsonl import write_line

        reporter.publish_to.append(partial(write_line, sys.stdout))
    try:
        work(reporter, guard)
    except SpecError as error:
        reporter.publish(error)
        raise
    except StreamtagError as error:
        reporter.error(error)
    reporter.detail(f"took {time.monotonic() - start:.1f} s")
    return guard.exit_code or int(reporter.has_failed)


def import_torch() -> None:
    """Import torch without the garbage collector, which would go through its growing number of objects repeatedly.

    That takes a quarter of the import. They stay to the end, so later collections, in the middle of a stream, leave
    them out.
    """
    if "torch" not in sys.modules:
        gc.disable()
        try:
            import torch  # noqa: F401
        finally:
            gc.freeze()
            gc.enable()


def load_model(
    model: Path | None,
    device: str,
    tags: str | None,
    concepts: str | None,
    top: int | None,
    threshold: float | None,
    reporter: Reporter,
) -> tuple[Tagger, Selection, Hello]:
    """Load the model; return it with the user's selection of tags and concepts and the first message of a stream.

    Raises ModelFileError, DeviceError, and SpecError for an unknown name.
    """
    import_torch()
    from streamtag.api import load

    start = time.monotonic()
    tagger = load(model, device)
    report_model(tagger, time.monotonic() - start, reporter)
    chosen = {"names": names_in(tags), "concept_names": names_in(concepts), "top": top, "threshold": threshold}
    selection = select(tagger, **chosen)
    return tagger, selection, hello(tagger, selection)


def report_model(tagger: Tagger, seconds: float, reporter: Reporter) -> None:
    """Say which model was loaded, in how many seconds, and what computes."""
    import torch

    counts = f"{plural(len(tagger.tags), 'tag')}, {plural(len(tagger.concepts), 'concept')}"
    reporter.detail(f"model {tagger.path}: {counts}; loaded in {seconds:.1f} s")
    reporter.detail(f"device {tagger.device}, {plural(usable_cores(), 'core')}, torch {torch.__version__}")


def select(tagger: Tagger, **chosen: Any) -> Selection:
    """Return a selection of the model's tags and concepts. chosen: as Selection.of has it."""
    from streamtag.protocol.messages import Concept
    from streamtag.protocol.selection import Selection

    concepts = [Concept(spec.name, spec.category, spec.tags, spec.threshold) for spec in tagger.concepts]
    return Selection.of(tagger.tags, tagger.thresholds, concepts, **chosen)


def hello(tagger: Tagger, selection: Selection | None = None) -> Hello:
    """Return the first message of a stream. selection: has the user's thresholds; None: those of the model."""
    from streamtag.protocol.messages import Hello

    selection = selection or select(tagger)
    spec = tagger.network.spec
    return Hello(
        server=f"streamtag {__version__}",
        model=str(tagger.card.get("name") or tagger.path.stem),
        tags=selection.tags,
        sample_rate=spec.sample_rate,
        hop_s=spec.hop_s,
        window_s=spec.window_s,
        lookahead_s=spec.lookahead_s,
        thresholds=selection.tag_thresholds,
        concepts=selection.concepts,
    )


def start_server(config: ServerConfig, greeting: Hello, reporter: Reporter, resources: ExitStack) -> ServerThread:
    """Start a server that runs until `resources` are closed. Raises OutputError."""
    from streamtag.server.thread import ServerThread

    server = resources.enter_context(ServerThread(config, greeting))
    reporter.publish_to.append(server.publish)
    reporter.note(f"serving on {server.address}")
    warn_if_open(config, reporter)
    return server


def warn_if_open(config: ServerConfig, reporter: Reporter) -> None:
    """Say so if other machines may subscribe without a token."""
    if config.token is None and not is_loopback(config.host):
        reporter.note("anyone who can reach this address can subscribe: --token TOKEN asks for a password")
