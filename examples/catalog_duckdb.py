"""Query a catalogue, as `streamtag catalog MUSIC --out tags.parquet` writes it, with DuckDB and pandas.

    python examples/catalog_duckdb.py tags.parquet

Needs: pip install duckdb pandas
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

try:
    import duckdb
    import pandas as pd
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is missing: pip install duckdb pandas")

STRONGEST = """
select parse_filename(path) as file, round(concept_techno, 3) as techno, verdict
from read_parquet($table) where error is null order by techno desc limit 5
"""
HOURS = """
select concept, count(*) as files, round(sum(seconds) / 3600, 2) as hours
from (select unnest(present) as concept, seconds from read_parquet($table))
group by concept order by files desc, concept limit 5
"""
FAILED = "select path, error from read_parquet($table) where error is not null"


def nearest(table: pd.DataFrame, row: int, count: int = 3) -> pd.DataFrame:
    """Return the files with the smallest angle between their concepts' mean probabilities and those of a row."""
    means = table.filter(regex="^concept_").to_numpy(np.float32)
    units = means / np.linalg.norm(means, axis=1, keepdims=True)
    similarity = units @ units[row]
    order = [other for other in np.argsort(-similarity) if other != row][:count]
    return table.iloc[order][["path"]].assign(similarity=similarity[order].round(3))


def main(path: str) -> None:
    for title, query in (("Most techno", STRONGEST), ("By concept", HOURS), ("Not tagged", FAILED)):
        print(f"\n{title}\n{duckdb.execute(query, {'table': path}).df().to_string(index=False)}")
    table = pd.read_parquet(path)
    table = table[table["error"].isna()]
    print(f"\nMost like {table['path'].iloc[0]}\n{nearest(table, 0).to_string(index=False)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Query a catalogue with DuckDB and pandas.")
    parser.add_argument("table", metavar="tags.parquet")
    try:
        main(parser.parse_args().table)
    except duckdb.Error as error:  # a missing file, or another kind of file
        sys.exit(str(error).partition("\n")[0])
