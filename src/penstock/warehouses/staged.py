"""Staged files as a warehouse reads them: through DuckDB, with the columns of its table.

Shape: a mapping of columns is name -> logical type, in the table's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.engine import RESERVED, literal, quote
from penstock.errors import Rejected, Transient
from penstock.model import Field, LoadRequest, Staged
from penstock.warehouses.columns import duckdb_type, logical_type, plain

if TYPE_CHECKING:
    import duckdb

CHUNK = f"{RESERVED}chunk"
SEQ = f"{RESERVED}seq"
GENERATION = f"{RESERVED}gen"
ROW = f"{RESERVED}row"
FILE = f"{RESERVED}file"
_ALWAYS = {CHUNK: "varchar", SEQ: "bigint"}
_MERGE = {GENERATION: "integer", ROW: "bigint"}


@dataclass(frozen=True, slots=True)
class Files:
    """Staged files whose columns are alike; `present` are those columns."""

    paths: tuple[str, ...]
    present: Mapping[str, str]


def groups(
    chunks: Iterable[Staged], describe: Callable[[str], Mapping[str, str]]
) -> tuple[Files, ...]:
    """The chunks' files, grouped by contract version and columns, lowest version first.

    Why: read as one, files of two versions would be unified by DuckDB before they are cast to
    the table's types (1 and 1.5 in a text column would be "1.0" and "1.5").
    """
    alike: dict[tuple[int, tuple[Field, ...]], list[str]] = {}
    for chunk in chunks:
        key = (chunk.commit.contract_version, chunk.commit.columns)
        alike.setdefault(key, []).extend(chunk.paths)
    return tuple(
        Files(tuple(alike[key]), describe(alike[key][0]))
        for key in sorted(alike, key=lambda key: key[0])
        if alike[key]
    )


def read_files(paths: Sequence[str]) -> str:
    """The FROM item of these Parquet files, their folders' names taken as nothing but names."""
    return f"read_parquet({_list(paths)}, hive_partitioning = false, union_by_name = false)"


def _list(paths: Sequence[str]) -> str:
    # A path that exists is that file to DuckDB, whatever patterns it could be taken for.
    return f"[{', '.join(literal(path) for path in paths)}]"


def select_staged(columns: Mapping[str, str], files: Sequence[Files]) -> str:
    """A DuckDB query of these columns, in their types; a column that a file lacks is NULL."""

    def value(name: str, logical: str, present: Mapping[str, str]) -> str:
        known = {have.lower(): have for have in present}
        source = quote(known[name.lower()]) if name.lower() in known else "NULL"
        return f"CAST({source} AS {duckdb_type(logical)}) AS {quote(name)}"

    return " UNION ALL ".join(
        "SELECT "
        + ", ".join(value(name, logical, group.present) for name, logical in columns.items())
        + f" FROM {read_files(group.paths)}"
        for group in files
    )


def wanted(request: LoadRequest, files: Sequence[Files]) -> dict[str, str]:
    """What the table has to have: the contract's columns, then the bookkeeping of its files."""
    columns = {
        field.name: plain(field.type)
        for field in request.contract.columns
        if not field.name.startswith(RESERVED)
    }
    bookkeeping = _ALWAYS | (_MERGE if request.target.write == "merge" else {})
    for group in files:
        for name, logical in group.present.items():
            if name.startswith(RESERVED) and name not in bookkeeping:
                bookkeeping[name] = logical
    return columns | bookkeeping


def file_rows(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> dict[str, int]:
    """Rows of each file, as its footer says.

    Raises: Transient if a file is not there (it may be on its way, or its run closed meanwhile),
    Rejected if one is no Parquet file.
    """
    import duckdb

    if not paths:
        return {}
    try:
        found = connection.execute(
            f"SELECT file_name, num_rows FROM parquet_file_metadata({_list(paths)})"
        ).fetchall()
    except (duckdb.IOException, duckdb.PermissionException) as error:
        raise Transient("a staged file cannot be read now", why=str(error)) from error
    except duckdb.InvalidInputException as error:
        raise Rejected(
            "load rejected: a staged file is damaged",
            why=str(error),
            fix="penstock replay, which makes it anew from raw",
        ) from error
    return dict(found)


def file_columns(connection: duckdb.DuckDBPyConnection, path: str) -> dict[str, str]:
    found = connection.execute(f"DESCRIBE SELECT * FROM {read_files([path])}").fetchall()
    return {row[0]: logical_type(row[1]) for row in found}
