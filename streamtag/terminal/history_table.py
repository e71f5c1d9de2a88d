"""What was heard between two times, as a table for every stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from rich.cells import cell_len
from rich.text import Text

from streamtag.history.times import format_moment, on_one_day
from streamtag.history.totals import ConceptTotal, StreamTotal
from streamtag.terminal.widgets import DIM_STYLE, GAP, new_titles, table_line
from streamtag.text import format_length, plural, printable

MAX_NAME = 24  # characters of a concept
OPTIONAL = ("times", "first", "last", "")  # columns in the order in which they make room; the last is the category


def history_lines(
    totals: Sequence[StreamTotal], from_at: float, to_at: float, width: int, zone: tzinfo | None = None
) -> Iterator[Text]:
    """Yield the range and a table per stream, columns that there is no room for are left out. zone: None: local."""
    yield Text(f"{format_moment(from_at, zone)} to {format_moment(to_at, zone)}")
    ends = [total.first_at for total in totals], [total.last_at for total in totals]
    is_one_day = not totals or on_one_day(min(ends[0]), max(ends[1]), zone)
    pattern = "%H:%M" if is_one_day else "%m-%d %H:%M"
    for total in totals:
        yield Text()
        lost = f", {format_length(total.lost_s)} lost in {plural(total.gaps, 'gap')}" if total.gaps else ""
        yield Text.assemble(
            (printable(total.stream), "bold"), (f"  heard {format_length(total.heard_s)}{lost}", DIM_STYLE)
        )
        if total.concepts:
            yield from _table(total.concepts, width, pattern, zone)
        else:
            yield Text("nothing was present")


def _table(concepts: Sequence[ConceptTotal], width: int, pattern: str, zone: tzinfo | None) -> Iterator[Text]:
    categories, count = [concept.category for concept in concepts], len(concepts)
    columns = {
        "": new_titles(categories) if any(categories) else [""] * count,
        "concept": [concept.concept for concept in concepts],
        "present": [format_length(concept.seconds) for concept in concepts],
        "share": [f"{concept.share:.0%}" for concept in concepts],
        "times": [str(concept.times) for concept in concepts],
        "first": [format_moment(concept.first_at, zone, pattern) for concept in concepts],
        "last": [format_moment(concept.last_at, zone, pattern) for concept in concepts],
    }
    widths = {name: max(map(cell_len, [name, *cells])) for name, cells in columns.items()}
    widths["concept"] = min(widths["concept"], MAX_NAME)
    for name in OPTIONAL:
        if sum(widths.values()) + len(GAP) * (len(widths) - 1) > width or not widths[name]:
            del widths[name]
    heading = {name: name for name in columns}
    for number, cells in enumerate([heading, *({name: columns[name][n] for name in columns} for n in range(count))]):
        line = table_line(cells, widths, "" if number else DIM_STYLE)
        line.rstrip()
        yield line
