"""Postgres as the warehouse, over ADBC: rows arrive by binary COPY, exactly as they were staged.

`sort_key` and `dist_key` have no meaning here and are ignored. A `json` column stays `json`, not
jsonb, which would change the order of keys and drop those that come twice.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.engine import connect, quote
from penstock.errors import PenstockError, Rejected, SpecError, Transient
from penstock.model import Closing, LoadRequest, Receipt, Target
from penstock.pipeline import WarehouseConfig
from penstock.ports import LedgerRow, Rows
from penstock.warehouses import ledger
from penstock.warehouses.answers import with_moments, with_moments_as_text
from penstock.warehouses.columns import plain
from penstock.warehouses.loading import load
from penstock.warehouses.staged import CHUNK, Files, file_columns, file_rows, select_staged

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
_SETTINGS = {
    "application_name": "penstock-load",
    "timezone": "UTC",
    "client_min_messages": "warning",
    "lock_timeout": "60s",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
}
"""Why: read committed, so that what is read after the lock is what the last holder committed."""

_SELECT = re.compile(r"\s*(select|values|table)\b", re.IGNORECASE)
_TRANSIENT = re.compile(r"08|25P03|40|53|55P03|57|58")
_FIXES = {
    "22021": (
        "a text holds a NUL character, which Postgres cannot store",
        "take it out in a step: - derive: {name: \"replace(name, chr(0), '')\"}, then replay",
    ),
    "0A000": (
        "a column changes its type, and a view depends on it",
        "drop the view, load again, and create it anew",
    ),
    "42501": (
        "the user may not do that",
        "grant CREATE on the database and the schema, and let the user own the tables",
    ),
}


class PostgresWarehouse:
    """A warehouse in one Postgres database. Every call has a connection of its own.

    Shape: `conninfo` is libpq's, with the password; `place` is what people may read.
    """

    def __init__(self, conninfo: str, place: str) -> None:
        self._conninfo, self.place = conninfo, place
        self._database: Any = None
        self._read_only = False

    @classmethod
    def from_config(
        cls, config: WarehouseConfig, read_reference: Callable[[str], str], directory: Path
    ) -> PostgresWarehouse:
        """The warehouse that a pipeline file names: {url} or {host, port, database, user, …}."""
        options = {name: read_reference(str(value)) for name, value in config.options.items()}
        values = _from_url(options.pop("url", ""), config.line)
        values.update(options)
        values["dbname"] = values.pop("database", values.get("dbname", ""))
        if "sslrootcert" in values:
            values["sslrootcert"] = str(directory / values["sslrootcert"])
        for name, default in (("connect_timeout", "10"), ("keepalives_idle", "30")):
            values.setdefault(name, default)
        place = f"postgres {values.get('host', 'localhost')}/{values['dbname']}"
        listed = " ".join(f"{name}={_escaped(text)}" for name, text in values.items() if text)
        return cls(listed, place)

    def __str__(self) -> str:
        return self.place

    def open(self, read_only: bool = False) -> None:
        """The server has answered.

        Raises: Transient while it does not.
        """
        if self._database is not None:
            return
        self._read_only = read_only
        try:
            import adbc_driver_manager
            import adbc_driver_postgresql
        except ImportError as error:
            raise SpecError(
                "the driver for Postgres is not installed",
                where=self.place,
                why=str(error),
                fix="pip install 'penstock[postgres]'",
            ) from error
        with _understood(self.place):
            self._database = adbc_driver_manager.AdbcDatabase(
                driver=adbc_driver_postgresql._driver_path(),  # noqa: SLF001
                uri=self._conninfo,
            )
        try:
            with self._session() as session:
                session.run("SELECT 1")
        except PenstockError:
            self.close()
            raise

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def identity(self) -> str | None:
        with self._session() as session:
            (place,) = session.rows("SELECT to_regclass('penstock._penstock_warehouse')::text")
            if place[0] is None:
                return None
            ids = session.rows("SELECT id FROM penstock._penstock_warehouse")
            return ids[0][0] if ids else None

    def set_up(self, identity: str) -> None:
        with self._session() as session:
            # Two at a time would both find no schema, and one would fail.
            session.rows("SELECT 1 FROM pg_advisory_xact_lock(hashtext('penstock'))")
            for statement in ledger.definitions():
                session.run(statement)
            if not session.rows("SELECT 1 FROM penstock._penstock_warehouse"):
                session.run(
                    "INSERT INTO penstock._penstock_warehouse VALUES ($1, $2)",
                    (identity, datetime.now(UTC)),
                )

    def load(self, request: LoadRequest) -> list[Receipt]:
        folders = {Path(path).parent for staged in request.chunks for path in staged.paths}
        where = f"{request.target.stream} -> {request.target}"
        with self._session(where, str(request.target), sorted(folders)) as session:
            return load(session, request, datetime.now(UTC))

    def close_run(self, closing: Closing, target: str) -> None:
        with self._session(target, target) as session:
            session.lock(target, "")
            ledger.write_closing(session, closing, target)

    def ledger(self, target: str | None = None) -> list[LedgerRow]:
        with self._session() as session:
            return ledger.read_ledger(session, target)

    def count(self, target: Target, by_chunk: bool = False) -> Mapping[str, int]:
        with self._session() as session:
            if session.columns(target) is None:
                return {} if by_chunk else {"": 0}
            table = session.table(target)
            if by_chunk:
                return dict(session.rows(f"SELECT {CHUNK}, count(*) FROM {table} GROUP BY 1"))
            return {"": session.rows(f"SELECT count(*) FROM {table}")[0][0]}

    def query(self, sql: str, limit: int | None = None) -> Rows:
        """The answer of any SQL, committed; moments are datetimes in UTC, numerics Decimals."""
        with self._session("query") as session:
            return session.answer(sql, limit)

    @contextmanager
    def _session(
        self, where: str = "", lockable: str = "", folders: Sequence[Path] = ()
    ) -> Iterator[_Session]:
        """One transaction: committed at the end, rolled back at an error.

        Shape: `lockable` is a target whose lock has a row before the transaction begins; staged
        files are read below `folders`.
        """
        import adbc_driver_manager

        if self._database is None:
            raise PenstockError(f"{self.place} is not open")
        with _understood(where or self.place), tempfile.TemporaryDirectory() as folder:
            connection = adbc_driver_manager.AdbcConnection(self._database)
            engine = connect([Path(folder), *folders])
            session, committed = _Session(connection, engine), False
            try:
                writes = {"default_transaction_read_only": "on" if self._read_only else "off"}
                settings = ", ".join(
                    f"set_config('{name}', '{value}', false)"
                    for name, value in (_SETTINGS | writes).items()
                )
                session.run(f"SELECT {settings}")
                if lockable:
                    session.run(
                        "INSERT INTO penstock._penstock_locks VALUES ($1, '') "
                        "ON CONFLICT DO NOTHING",
                        (lockable,),
                    )
                connection.set_autocommit(False)
                yield session
                connection.commit()
                committed = True
            finally:
                engine.close()
                with suppress(adbc_driver_manager.Error):
                    if not committed:
                        connection.rollback()
                with suppress(adbc_driver_manager.Error):
                    connection.close()


def _from_url(url: str, line: int) -> dict[str, str]:
    if not url:
        return {}
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise SpecError(
            "warehouse.url is none of Postgres",
            where=f"warehouse, line {line}",
            fix="url: postgresql://user@host:5432/database",
        )
    values = {
        "host": parts.hostname,
        "port": str(parts.port or ""),
        "user": parts.username,
        "password": parts.password,
        "dbname": parts.path.removeprefix("/"),
    }
    return {
        **{name: unquote(text) for name, text in values.items() if text},
        **dict(parse_qsl(parts.query)),
    }


def _escaped(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@contextmanager
def _understood(where: str) -> Iterator[None]:
    """Failures of the drivers in here leave by what the caller must do."""
    import adbc_driver_manager
    import duckdb

    try:
        yield
    except adbc_driver_manager.Error as error:
        raise _failure(error, where) from error
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise Transient(
            "a staged file could not be read now", where=where, why=str(error)
        ) from error
    except duckdb.Error as error:
        raise Rejected("a staged file does not fit", where=where, why=str(error)) from error


def _failure(error: Exception, where: str) -> PenstockError:
    text = str(error).strip()
    found = re.search(r"SQLSTATE: (\w{5})", text)
    state = found[1] if found else str(getattr(error, "sqlstate", None) or "").strip("\0")
    if state in _FIXES:
        what, fix = _FIXES[state]
        return Rejected(f"load rejected: {what}", where=where, why=text, fix=fix)
    if not state and ("authentication failed" in text or "does not exist" in text):
        return Rejected(
            "Postgres does not let us in",
            where=where,
            why=text,
            fix="correct host, database, user and password of the warehouse",
        )
    if not state or _TRANSIENT.match(state):
        return Transient("Postgres could not do it now", where=where, why=text)
    return Rejected("Postgres refused", where=where, why=text)


class _Session:
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
                row = self._engine.sql(f"SELECT {ledger.marks(len(values))}", params=list(values))
                statement.prepare()
                statement.bind_stream(row.__arrow_c_stream__())
            yield statement
        finally:
            statement.close()

    def lock(self, target: str, load_id: str) -> None:
        """Waits for another load, up to lock_timeout."""
        self.rows(
            "SELECT target FROM penstock._penstock_locks WHERE target = $1 FOR UPDATE", (target,)
        )
        self.run(
            "UPDATE penstock._penstock_locks SET load_id = $2 WHERE target = $1", (target, load_id)
        )

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
