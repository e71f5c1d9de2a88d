"""`--history` and `--keep`: what the messages of a command are recorded in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from streamtag.cli import options
from streamtag.cli.program import Section, UsageError

if TYPE_CHECKING:
    from streamtag.protocol.messages import Hello
    from streamtag.server.config import ServerConfig
    from streamtag.sinks.background import BackgroundSink

MAX_DAYS = 36_500.0

History = Annotated[
    Path | None,
    options.option(
        "--history",
        "FILE",
        "Record in this SQLite file when each concept was present, and the means of every minute; `streamtag history`"
        " shows them.",
        section=Section.output,
    ),
]
Keep = Annotated[
    float | None,
    options.option(
        "--keep", "DAYS", "With --history: delete what is older; by default nothing is.", section=Section.output
    ),
]


@dataclass(frozen=True)
class HistoryTarget:
    """Where to record, and for how long to keep it (None: for ever)."""

    path: Path
    keep_days: float | None

    def open(
        self,
        report: Callable[[str], None],
        hello: Hello | None = None,
        model: Path | None = None,
        source_of: Callable[[str], str | None] = lambda _: None,
        max_messages: int = 1024,
    ) -> BackgroundSink:
        """Return a sink that never blocks and never fails. Raises OutputError.

        report: called from any thread with one line for people. hello: None if the messages begin with one. model: the
        file with the weights. source_of: the source of a stream by its name, where `begin` does not tell.
        max_messages: that wait for the disk.
        """
        from streamtag.history.recorder import Recorder
        from streamtag.sinks.background import BackgroundSink

        weights = ""
        if model is not None:
            from streamtag.model.model_file import fingerprint

            weights = fingerprint(model)
        recorder = Recorder(self.path, report, weights, source_of, self.keep_days)
        sink = BackgroundSink([recorder], max_messages, recorder.poll)
        if hello is not None:
            sink.write(hello)
        return sink


def with_history(function: Callable[..., int]) -> Callable[..., int]:
    """Add --history and --keep to a command, which gets a `history`."""
    return options.with_options(function, "history", {"history_file": History, "keep_days": Keep}, None, _target)


def _target(history: Path | None, keep: float | None) -> HistoryTarget | None:
    if keep is not None and history is None:
        raise UsageError("--keep goes with --history")
    if keep is not None and not 0 < keep <= MAX_DAYS:
        raise UsageError(f"--keep {keep:g}: must be a number of days above 0, at most {MAX_DAYS:g}")
    return None if history is None else HistoryTarget(history, keep)


def show_history(config: ServerConfig, history: HistoryTarget | None) -> ServerConfig:
    """Return the settings of a server whose page shows what is recorded."""
    return config if history is None else replace(config, history=history.path)


def history_paths(history: HistoryTarget | None) -> list[Path]:
    """Return the file, for a check of the targets."""
    return [] if history is None else [history.path]
