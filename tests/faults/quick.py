"""The transform of the simulation's rows, ten times as fast: for schedules that are about order.

It makes what `transform_chunk` makes of the same stream and chunk (a test compares them).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from tests.faults.source import COLUMNS, FIELDS

from penstock.engine import literal
from penstock.errors import Rejected
from penstock.model import Contract, Counts, Field, Link
from penstock.pipeline import Stream
from penstock.transform import LocalFile, Transformed

CONTRACT = Contract(1, FIELDS)


def transform_chunk(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    link: Link,
    raw: Path,
    contract: Contract | None,
    folder: Path,
    *,
    generation: int,
    seq: int,
    read_reference: Callable[[str], str],
    at: datetime,
) -> Transformed:
    rule = str(stream.expect[0].options["sql"])
    listed = ", ".join((*COLUMNS, "file_row_number"))
    rows = connection.execute(f"SELECT {listed} FROM read_parquet({literal(str(raw))})").fetchall()
    good = [row for row in rows if is_good(rule, row[3])]
    bad = len(rows) - len(good)
    if bad > max(stream.bad_rows.but_at_least_rows, int(stream.bad_rows.max_ratio * len(rows))):
        raise Rejected(f"chunk rejected: {bad} of {len(rows)} rows are bad")
    paths = [folder / f"{kind}-{generation}.parquet" for kind in ("good", "bad")]
    columns = dict.fromkeys(COLUMNS, "BIGINT")
    columns |= {"_penstock_chunk": "VARCHAR", "_penstock_seq": "BIGINT"}
    if stream.load.write == "merge":
        columns |= {"_penstock_gen": "INTEGER", "_penstock_row": "BIGINT"}
    if stream.cursor is not None:
        columns |= {"_penstock_cursor": "BIGINT"}
    if stream.files is not None:
        columns |= {"_penstock_file": "VARCHAR"}
    if good:
        _write(
            connection, paths[0], columns, [_full(r, columns, link, generation, seq) for r in good]
        )
    if bad:
        paths[1].write_bytes(b"quarantined")
    kinds = {"BIGINT": "bigint", "VARCHAR": "varchar", "INTEGER": "integer"}
    return Transformed(
        (LocalFile(paths[0], len(good)),) if good else (),
        (LocalFile(paths[1], bad),) if bad else (),
        Counts(len(rows), len(good), bad),
        {"expression": bad} if bad else {},
        tuple(Field(name, kinds[kind]) for name, kind in columns.items()),
        CONTRACT if contract is None else contract,
    )


def is_good(rule: str, uid: int) -> bool:
    """What DuckDB says of the rule that `Simulation.stream_of` writes."""
    found = re.search(r"\+ (\d+) \* 5.* OR (\d) = 1", rule)
    assert found is not None
    return (uid * 7 + int(found[1]) * 5) % 4 != 0 and (uid % 6 != 5 or found[2] == "1")


def _full(
    row: tuple[Any, ...], columns: dict[str, str], link: Link, generation: int, seq: int
) -> list[Any]:
    own = {
        "_penstock_chunk": str(link.chunk),
        "_penstock_seq": seq,
        "_penstock_gen": generation,
        "_penstock_row": row[4],
        "_penstock_cursor": row[1],
        "_penstock_file": link.origin,
    }
    return [*row[:4], *(own[name] for name in columns if name in own)]


def _write(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    columns: dict[str, str],
    rows: list[list[Any]],
) -> None:
    def value(item: Any, kind: str) -> str:
        text = "NULL" if item is None else literal(item) if isinstance(item, str) else str(item)
        return f"{text}::{kind}"

    values = ", ".join(
        "(" + ", ".join(value(i, k) for i, k in zip(row, columns.values(), strict=True)) + ")"
        for row in rows
    )
    names = ", ".join(columns)
    connection.execute(f"COPY (FROM (VALUES {values}) t({names})) TO '{path}' (FORMAT parquet)")
