"""Parquet, in ranges of rows: columns and types as they are, within what every warehouse has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from penstock.engine import RESERVED, literal, quote
from penstock.model import Field, Json
from penstock.sources.formats.raw import BLOCK_BYTES, LINE, Failure, Part, RawWriter, duckdb_error

PIECE_BYTES = 4 * BLOCK_BYTES
MAX_PIECE_ROWS = 250_000
TYPES = {
    "BOOLEAN": "boolean", "TINYINT": "smallint", "SMALLINT": "smallint", "UTINYINT": "smallint",
    "INTEGER": "integer", "USMALLINT": "integer", "BIGINT": "bigint", "UINTEGER": "bigint",
    "UBIGINT": "decimal(20,0)", "HUGEINT": "decimal(38,0)", "FLOAT": "real", "DOUBLE": "double",
    "VARCHAR": "varchar", "UUID": "varchar", "BLOB": "binary", "DATE": "date", "TIME": "time",
    "TIME_NS": "time", "TIMESTAMP": "timestamp", "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp", "TIMESTAMP_NS": "timestamp", "JSON": "json",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}  # fmt: skip


class ParquetReader:
    """Reads one local Parquet file from a row on; every range of rows becomes one part."""

    def __init__(self, path: Path, writer: RawWriter, at: dict[str, Json] | None) -> None:
        self._writer = writer
        self._table = f"read_parquet({literal(str(path))}, file_row_number=true)"
        self._name = literal(str(path))
        self._row: int = at["row"] if at else 0

    def parts(self) -> Iterator[Part]:
        """The ranges after the row; at least one, which may have no rows."""
        connection = self._writer.connection
        try:
            total, size = self._measure()
            described = connection.execute(f"DESCRIBE SELECT * FROM {self._table}").fetchall()
        except duckdb_error() as error:
            yield self._failed(_said(error), (), None)
            return
        columns = [(row[0], row[1]) for row in described if row[0] != "file_row_number"]
        reserved = [name for name, _ in columns if name.lower().startswith(RESERVED)]
        if reserved:
            yield self._failed(f"the column name {reserved[0]} is reserved", (), None)
            return
        names = self._writer.names([name for name, _ in columns])
        fields = self._writer.fields(
            Field(name, logical(kind)) for name, (_, kind) in zip(names, columns, strict=True)
        )
        selected = ", ".join(
            f"{converted(quote(column), kind)} AS {quote(name)}"
            for name, (column, kind) in zip(names, columns, strict=True)
        )
        step = max(1, min(MAX_PIECE_ROWS, PIECE_BYTES * max(total, 1) // max(size, 1)))
        while True:
            yield self._range(selected, fields, min(self._row + step, total), total)
            if self._row >= total:
                return

    def _range(self, selected: str, fields: tuple[Field, ...], end: int, total: int) -> Part:
        start, self._row = self._row, end
        resume = None if end >= total else {"row": end}
        try:
            path, rows = self._writer.copy(
                f"SELECT file_row_number + 1 AS {LINE}, {selected} FROM {self._table}"
                f" WHERE file_row_number >= {start} AND file_row_number < {end}"
            )
        except duckdb_error() as failure:
            error = f"rows {start + 1} to {end}: {_said(failure)}"
            return self._failed(error, fields, resume, start + 1)
        return Part(path, rows, fields, resume)

    def _measure(self) -> tuple[int, int]:
        """Rows, and uncompressed bytes."""
        rows = self._writer.connection.execute(
            f"SELECT num_rows FROM parquet_file_metadata({self._name})"
        ).fetchone()
        size = self._writer.connection.execute(
            f"SELECT sum(total_uncompressed_size) FROM parquet_metadata({self._name})"
        ).fetchone()
        assert rows is not None
        assert size is not None
        return int(rows[0]), int(size[0] or 0)

    def _failed(
        self,
        error: str,
        fields: tuple[Field, ...],
        resume: dict[str, Json] | None,
        line: int = 1,
    ) -> Part:
        path, rows = self._writer.failures([Failure(line, error)], ())
        return Part(path, rows, fields or self._writer.fields(()), resume)


def logical(kind: str) -> str:
    """The logical type of a DuckDB type."""
    if kind.startswith("DECIMAL"):
        return kind.lower()
    if kind.startswith("ENUM"):
        return "varchar"
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return "json"
    return TYPES.get(kind, "varchar")


def converted(column: str, kind: str) -> str:
    """The column, in a type that every warehouse has; lossless."""
    wanted = logical(kind)
    if wanted == "json" and kind != "JSON":
        return f"CAST(to_json({column}) AS VARCHAR)"
    if wanted in ("json", "varchar"):
        return f"CAST({column} AS VARCHAR)"
    return f"CAST({column} AS {wanted})"


def _said(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error))
    return "the Parquet file cannot be read: " + re.sub(r'[^"\']*/', "", text)[:300]
