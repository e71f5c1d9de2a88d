"""For how many minutes of each hour of the day was a concept present? Asked with DuckDB.

    streamtag history radio.db --since 30d --out month.parquet
    python examples/history_duckdb.py month.parquet

history_pandas.py asks the same of the history itself. DuckDB reads SQLite files with an extension that it downloads
once (`install sqlite; attach 'radio.db' as h (type sqlite); from h.heard`); the table of --out needs none.

Needs: pip install duckdb pandas
"""

from __future__ import annotations

import argparse
import sys

try:
    import duckdb
except ModuleNotFoundError:
    sys.exit("duckdb is missing: pip install duckdb pandas")

# A presence is divided at the full hours of the time zone.
PARTS = """
create temp table parts as
with times as (
    select concept, on_at at time zone $zone as begin, off_at at time zone $zone as until from read_parquet($table)
),
hours as (select *, unnest(generate_series(date_trunc('hour', begin), until, interval 1 hour)) as start from times)
select concept, hour(start) as hour,
    epoch(least(until, start + interval 1 hour)) - epoch(greatest(begin, start)) as seconds
from hours
"""
MINUTES = """
with longest as (select concept from parts group by concept order by sum(seconds) desc, concept limit 5)
pivot (from parts semi join longest using (concept)) on concept
using coalesce(round(sum(seconds) / 60), 0)::int group by hour order by hour
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Show the minutes per hour of the day of the most present concepts.")
    parser.add_argument("table", metavar="month.parquet", help="of streamtag history --out")
    parser.add_argument("--zone", default="UTC", help="such as Europe/Berlin; UTC by default")
    try:
        duckdb.execute(PARTS, vars(parser.parse_args()))
        print(duckdb.execute(MINUTES).df().to_string(index=False))
    except duckdb.Error as error:  # a missing file, or another kind of file
        sys.exit(str(error).partition("\n")[0])


if __name__ == "__main__":
    main()
