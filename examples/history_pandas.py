"""For how many minutes of each hour of the day was a concept present? Asked with pandas, of the history itself.

    python examples/history_pandas.py radio.db

It may be written meanwhile. history_duckdb.py asks the same of a table of `streamtag history --out`.

Needs: pip install pandas
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

try:
    import pandas as pd
except ModuleNotFoundError:
    sys.exit("pandas is missing: pip install pandas")

PRESENCES = "SELECT concept, on_at, off_at FROM heard"  # what is still on, or was at a kill, ends with what is stored
HOUR = pd.Timedelta(hours=1)


def minutes_by_hour(presences: pd.DataFrame, zone: str) -> pd.DataFrame:
    """Return a row per hour of the day in a time zone, and a column for each of the five longest concepts."""
    parts = presences.copy()
    for name in ("on_at", "off_at"):
        parts[name] = pd.to_datetime(parts[name], unit="s", utc=True).dt.tz_convert(zone).dt.tz_localize(None)
    start = parts["on_at"].dt.floor("h")
    parts = parts.loc[parts.index.repeat((parts["off_at"].dt.floor("h") - start) // HOUR + 1)]
    start = start.loc[parts.index] + parts.groupby(level=0).cumcount() * HOUR
    ends = parts["off_at"].where(parts["off_at"] < start + HOUR, start + HOUR)
    parts["minutes"] = (ends - parts["on_at"].where(parts["on_at"] > start, start)).dt.total_seconds() / 60
    parts["hour"] = start.dt.hour
    table = parts.pivot_table(index="hour", columns="concept", values="minutes", aggfunc="sum", fill_value=0)
    longest = table.sum().sort_values(ascending=False, kind="stable").index[:5]
    return table[sorted(longest)].round().astype(int)


def main() -> None:
    parser = argparse.ArgumentParser(description="Show the minutes per hour of the day of the most present concepts.")
    parser.add_argument("history", metavar="radio.db", type=Path, help="a file of --history")
    parser.add_argument("--zone", default="UTC", help="such as Europe/Berlin; UTC by default")
    given = parser.parse_args()
    try:
        with closing(sqlite3.connect(f"{given.history.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            presences = pd.read_sql_query(PRESENCES, connection)
        print(minutes_by_hour(presences, given.zone).reset_index().to_string(index=False))
    except (sqlite3.Error, pd.errors.DatabaseError) as error:
        sys.exit(f"{given.history}: {error.__cause__ or error}")
    except KeyError:
        sys.exit(f"{given.zone}: no such time zone")


if __name__ == "__main__":
    main()
