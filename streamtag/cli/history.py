"""`streamtag history`: what was heard between two times, from the file that --history writes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, as_command
from streamtag.cli.options import option
from streamtag.cli.program import Section, UsageError
from streamtag.text import closest, printable

if TYPE_CHECKING:
    from streamtag.history.reader import Presence

TABLE_FORMATS = (".csv", ".jsonl", ".parquet")
COLUMNS = ("stream", "concept", "category", "on_at", "off_at", "seconds", "session")
NAMES = ("stream", "concept", "category", "session")  # the columns that are stored as they are
BLOCK_ROWS = 5_000  # that are written at a time

EPILOG = f"""\b
Examples:
  streamtag history radio.db
  streamtag history radio.db --since 7d --stream radio --concepts techno,drums
  streamtag history radio.db --since yesterday --until today --out day.csv
  streamtag history radio.db --plot day.png

{EXIT_CODES}
"""


@as_command("history", EPILOG)
def history(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A file of --history; it may be written meanwhile.", show_default=False),
    ],
    since: Annotated[
        str | None,
        option(
            "--since TIME",
            Section.input,
            "From when on, in local time; by default the last 24 hours. TIME is 2026-11-27 (its midnight),"
            " '2026-11-27 18:30', 18:30 (today), today, yesterday, now, or how long ago: 90m, 12h, 7d.",
        ),
    ] = None,
    until: Annotated[str | None, option("--until TIME", Section.input, "Until when; by default now.")] = None,
    stream: Annotated[
        list[str] | None, option("--stream NAME", Section.shown, "Only this stream; may be repeated.")
    ] = None,
    concepts: options.Concepts = None,
    as_json: options.JsonObject = False,
    out: Annotated[
        Path | None,
        option(
            "--out F",
            Section.output,
            "A table of every time that a concept was present, as a whole: F.csv, F.jsonl or F.parquet.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        option(
            "--plot F.png",
            Section.output,
            "Draw the concepts of each stream over the time: .png, .svg or .pdf. At most 31 days and 16 streams.",
        ),
    ] = None,
) -> int:
    """Show for how long each concept was present in each stream between two times."""
    from streamtag.cli.runtime import Reporter
    from streamtag.history.reader import HistoryReader
    from streamtag.history.times import choose_range, format_moment, parse_moment
    from streamtag.history.totals import summarize
    from streamtag.sinks.atomic_file import AtomicFile, check_suffix, check_targets

    now, note = time.time(), Reporter(sys.stderr).note
    start, end = (None if text is None else parse_moment(text, now) for text in (since, until))
    if out is not None:
        from streamtag.catalog.table_formats import check_format

        check_format(out, TABLE_FORMATS)
    if plot is not None:
        from streamtag.sinks.plot import SUFFIXES

        check_suffix(plot, SUFFIXES, "draw")
    check_targets([target for target in (out, plot) if target is not None], [str(path)])
    with HistoryReader(path) as reader:
        known = reader.streams()
        streams = _chosen(stream, [each.stream for each in known], "stream")
        chosen = _chosen(options.names_in(concepts), list(reader.concepts()), "concept")
        newest_at = max((each.last_at for each in known), default=now)
        oldest_at = min((each.first_at for each in known), default=now)
        from_at, to_at = choose_range(start, end, now, oldest_at, newest_at)
        with ExitStack() as resources:
            consumers = []
            if out is not None:
                consumers.append(resources.enter_context(_open_table(out)))
            if plot is not None:
                from streamtag.sinks.history_plot import draw_history

                kind = plot.suffix[1:].lower()
                picture = resources.enter_context(AtomicFile(plot))
                picture.file.buffer.write(draw_history(path, (from_at, to_at), streams, chosen, kind))
            totals = summarize(reader, from_at, to_at, streams, chosen, consumers)
    label = printable(str(path))
    if start is None and end is None and to_at < now:
        note(f"{label}: nothing in the last 24 hours; this is the day before {format_moment(to_at)}")
    if not known:
        note(f"{label}: it is empty")
    elif not totals:
        text = f"{label}: nothing was heard from {format_moment(from_at)} to {format_moment(to_at)}"
        note(f"{text}; it goes from {format_moment(oldest_at)} to {format_moment(newest_at)}")
    for written in (out, plot):
        if written is not None:
            note(f"wrote {written}")
    if as_json:
        body = {"from": round(from_at, 3), "to": round(to_at, 3), "streams": [total.to_dict() for total in totals]}
        print(json.dumps(body, ensure_ascii=False, indent=2, allow_nan=False))
    elif totals:
        from streamtag.terminal.history_table import history_lines
        from streamtag.terminal.summary import results_console

        console = results_console(sys.stdout)
        for line in history_lines(totals, from_at, to_at, console.width):
            console.print(line, soft_wrap=True)
    return 0


@contextmanager
def _open_table(path: Path) -> Iterator[Callable[[Presence], None]]:
    """Open a table with a row for every time that a concept was present, and yield what adds one; complete at the end.

    Raises OutputError, as what is yielded does.
    """
    import numpy as np

    from streamtag.catalog.table_formats import Block, open_table

    rows: list[Presence] = []

    def write() -> None:
        values: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in NAMES}
        for name in ("on_at", "off_at"):
            values[name] = [datetime.fromtimestamp(round(getattr(row, name), 3), UTC) for row in rows]
        values["seconds"] = [round(row.off_at - row.on_at, 3) for row in rows]
        figures = np.array([(row.peak, row.mean) for row in rows], np.float32).reshape(-1, 2)
        table.write(Block(values, figures))
        rows.clear()

    def add(presence: Presence) -> None:
        rows.append(presence)
        if len(rows) >= BLOCK_ROWS:
            write()

    with open_table(path, COLUMNS, ("peak", "mean")) as table:
        yield add
        write()


def _chosen(names: Sequence[str] | None, known: Sequence[str], kind: str) -> list[str] | None:
    """Return the names as they are stored; None for all. Raises UsageError for one that the history has not."""
    if not names:
        return None
    by_key = {name.casefold(): name for name in known}
    for name in names:
        if name not in known and name.casefold() not in by_key:
            near = closest(name, known)
            hint = "" if near is None else f" (did you mean {near!r}?)"
            raise UsageError(f"{name}: not a {kind} of this history{hint}")
    return [name if name in known else by_key[name.casefold()] for name in names]
