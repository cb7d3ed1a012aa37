"""One load transaction of Postgres: its SQL, and rows by binary COPY through ADBC."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from penstock.engine import quote
from penstock.errors import Rejected
from penstock.model import Target
from penstock.ports import Rows
from penstock.warehouses.answers import with_moments, with_moments_as_text
from penstock.warehouses.columns import plain
from penstock.warehouses.ledger import marks
from penstock.warehouses.staged import Files, file_columns, file_rows, select_staged

if TYPE_CHECKING:
    import duckdb

_STAGE = "_penstock_stage"
_TEXT = "_penstock_text"
_NAME_BYTES = 63
_TYPES = {"double": "double precision", "binary": "bytea", "varchar": "text"}
_LOGICAL = {
    "boolean": "boolean",
    "smallint": "smallint",
    "integer": "integer",
    "bigint": "bigint",
    "real": "real",
    "double precision": "double",
    "text": "varchar",
    "json": "json",
    "bytea": "binary",
    "date": "date",
    "time without time zone": "time",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}
_SELECT = re.compile(r"\s*(select|values|table)\b", re.IGNORECASE)


class PostgresSession:
    """One transaction of Postgres, and a DuckDB that reads staged files and Arrow for it."""

    def __init__(self, connection: Any, engine: duckdb.DuckDBPyConnection) -> None:
        self._connection, self._engine = connection, engine

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        with self._statement(sql, values) as statement:
            return max(0, int(statement.execute_update()))

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._statement(sql, values) as statement:
            stream, _ = statement.execute_query()
            return self._engine.from_arrow(stream).fetchall()

    @contextmanager
    def _statement(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        import adbc_driver_manager

        statement = adbc_driver_manager.AdbcStatement(self._connection)
        try:
            statement.set_sql_query(sql)
            if values:
                row = self._engine.sql(f"SELECT {marks(len(values))}", params=list(values))
                statement.prepare()
                statement.bind_stream(row.__arrow_c_stream__())
            yield statement
        finally:
            statement.close()

    def schema(self, target: Target) -> str:
        return quote(target.schema)

    def table(self, target: Target) -> str:
        return f"{quote(target.schema)}.{quote(target.table)}"

    def columns(self, target: Target) -> Mapping[str, str] | None:
        found = self.rows(
            """SELECT c.relkind::text, a.attname::text, format_type(a.atttypid, a.atttypmod)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE n.nspname = $1 AND c.relname = $2 ORDER BY a.attnum""",
            (target.schema, target.table),
        )
        if found and found[0][0] not in ("r", "p"):
            raise Rejected(
                f"{target} is not a table",
                fix="rename what stands there, or give the stream another load.table",
            )
        return {name: _logical(kind) for _, name, kind in found if name} if found else None

    def type_name(self, logical: str) -> str:
        return _TYPES.get(plain(logical), plain(logical)).replace("decimal", "numeric")

    def fold(self, name: str) -> str:
        if len(name.encode()) > _NAME_BYTES:
            raise Rejected(
                f'load rejected: the name "{name}" is longer than {_NAME_BYTES} bytes',
                why="Postgres would cut it off",
                fix="give it a shorter name: columns: {short: {from: the_long_name}}",
            )
        return name

    def binary(self, expression: str) -> str:
        return f'CAST({expression} AS text) COLLATE "C"'

    def finish(self, target: Target) -> None:
        """Merge finds rows by their key: without an index, each load would read the table."""
        if target.write == "merge":
            keys = ", ".join(quote(key) for key in target.primary_key)
            name = quote(f"{target.table[:40]}_penstock_key")
            self.run(f"CREATE INDEX IF NOT EXISTS {name} ON {self.table(target)} ({keys})")

    def file_rows(self, paths: Sequence[str]) -> Mapping[str, int]:
        return file_rows(self._engine, paths)

    def file_columns(self, path: str) -> Mapping[str, str]:
        return file_columns(self._engine, path)

    def append(self, target: Target, columns: Mapping[str, str], files: Sequence[Files]) -> int:
        place = {
            "adbc.ingest.target_db_schema": target.schema,
            "adbc.ingest.target_table": target.table,
        }
        return self._fill(self.table(target), place, columns, files)

    def stage(self, columns: Mapping[str, str], files: Sequence[Files]) -> str:
        self._make_temporary(_STAGE, columns)
        self._fill(_STAGE, _temporary(_STAGE), columns, files)
        self.run(f"ANALYZE {_STAGE}")
        return _STAGE

    def _fill(
        self,
        table: str,
        place: Mapping[str, str],
        columns: Mapping[str, str],
        files: Sequence[Files],
    ) -> int:
        """The files' rows are in the table.

        Why: the driver shifts `infinity` like any moment, into the year 294247; columns that hold
        one go as text through a table between.
        """
        select = select_staged(columns, files)
        endless = self._endless(columns, select)
        if not endless:
            return self._copy(place, select)
        as_text = {name: "varchar" if name in endless else columns[name] for name in columns}
        self._make_temporary(_TEXT, as_text)
        texts = ", ".join(
            f"replace(CAST({quote(name)} AS VARCHAR), '(BC)', 'BC') AS {quote(name)}"
            for name in endless
        )
        rows = self._copy(_temporary(_TEXT), f"SELECT * REPLACE ({texts}) FROM ({select})")
        names = ", ".join(quote(name) for name in columns)
        values = ", ".join(
            f"CAST({quote(name)} AS {self.type_name(kind)})" for name, kind in columns.items()
        )
        self.run(f"INSERT INTO {table} ({names}) SELECT {values} FROM {_TEXT}")
        return rows

    def _endless(self, columns: Mapping[str, str], select: str) -> tuple[str, ...]:
        """The columns in which `infinity` or `-infinity` stands."""
        names = [n for n, kind in columns.items() if kind in ("date", "timestamp", "timestamptz")]
        if not names:
            return ()
        any_endless = ", ".join(f"bool_or(isinf({quote(name)}))" for name in names)
        found = self._engine.execute(f"SELECT {any_endless} FROM ({select})").fetchall()[0]
        return tuple(name for name, is_endless in zip(names, found, strict=True) if is_endless)

    def _make_temporary(self, name: str, columns: Mapping[str, str]) -> None:
        listed = ", ".join(f"{quote(n)} {self.type_name(kind)}" for n, kind in columns.items())
        self.run(f"DROP TABLE IF EXISTS pg_temp.{name}")
        self.run(f"CREATE TEMPORARY TABLE {name} ({listed})")

    def _copy(self, place: Mapping[str, str], select: str) -> int:
        import adbc_driver_manager

        statement = adbc_driver_manager.AdbcStatement(self._connection)
        try:
            statement.set_options(**place, **{"adbc.ingest.mode": "adbc.ingest.mode.append"})
            statement.bind_stream(self._engine.sql(select).__arrow_c_stream__())
            return int(statement.execute_update())
        finally:
            statement.close()

    def answer(self, sql: str, limit: int | None) -> Rows:
        import adbc_driver_manager
        import nanoarrow

        if limit is not None and _SELECT.match(sql):
            sql = f"SELECT * FROM ({sql.rstrip().rstrip(';')}\n) answer LIMIT {int(limit)}"
        statement = adbc_driver_manager.AdbcStatement(self._connection)
        try:
            statement.set_sql_query(sql)
            # Not by COPY, which takes no SHOW or EXPLAIN.
            statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            schema = nanoarrow.c_schema(statement.execute_schema())
            fields = [(column.name, column.metadata or {}) for column in schema.children]
            if not fields:
                statement.execute_update()
                return Rows((), (), ())
            kinds = tuple(dict(more)[b"POSTGRESQL:type"].decode() for _, more in fields)
            stream, _ = statement.execute_query()
            answer = self._engine.from_arrow(stream)
            types = [str(kind) for kind in answer.types]
            relation = answer.query("answer", with_moments_as_text("answer", types))
            found = relation.fetchall() if limit is None else relation.fetchmany(limit)
        finally:
            statement.close()
        rows = with_moments(found, types)
        return Rows(tuple(name for name, _ in fields), kinds, _with_decimals(rows, kinds))


def _with_decimals(
    rows: Sequence[tuple[object, ...]], kinds: Sequence[str]
) -> tuple[tuple[object, ...], ...]:
    """The rows with each numeric, which the driver gives as text, as a Decimal."""
    return tuple(
        tuple(
            Decimal(value) if kind == "numeric" and isinstance(value, str) else value
            for kind, value in zip(kinds, row, strict=True)
        )
        for row in rows
    )


def _temporary(table: str) -> Mapping[str, str]:
    """Where the driver puts rows: a temporary table."""
    return {"adbc.ingest.target_table": table, "adbc.ingest.temporary": "true"}


def _logical(name: str) -> str:
    """The logical type of a column; what Penstock never makes is text to it."""
    if name.startswith("numeric("):
        return name.replace("numeric", "decimal")
    return _LOGICAL.get(name, "varchar")
