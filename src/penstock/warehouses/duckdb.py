"""DuckDB as the warehouse: one file, read and written by one process at a time.

`sort_key` and `dist_key` have no meaning here and are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from penstock.engine import literal, quote
from penstock.errors import PenstockError, Rejected, Transient
from penstock.model import Closing, LoadRequest, Receipt, Target
from penstock.pipeline import WarehouseConfig
from penstock.ports import LedgerRow, Rows
from penstock.warehouses import ledger
from penstock.warehouses.answers import ZONED, with_moments, with_moments_as_text
from penstock.warehouses.columns import duckdb_type, logical_type
from penstock.warehouses.loading import load
from penstock.warehouses.staged import CHUNK, Files, file_columns, file_rows, select_staged

if TYPE_CHECKING:
    import duckdb

_CATALOG = "_penstock"
"""What the file is called inside DuckDB. By itself it would be called by its file's name, and
`shop.orders` would be ambiguous in shop.duckdb, as the ledger in penstock.duckdb."""
_HELD = re.compile(r"Conflicting lock is held in (.+?) \(PID (\d+)\)")


class DuckDBWarehouse:
    """A warehouse in one DuckDB file. Every call works on a connection of its own.

    Units: `memory_mb` bounds what DuckDB holds; what does not fit spills beside the file.
    """

    def __init__(self, path: Path, *, memory_mb: int = 160, threads: int = 2) -> None:
        self.path, self.memory_mb, self.threads = path, memory_mb, threads
        self._turn = Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    @classmethod
    def from_config(cls, config: WarehouseConfig, directory: Path) -> DuckDBWarehouse:
        """The warehouse that a pipeline file names: {path, memory_mb?, threads?}."""
        options = config.options
        return cls(
            directory / str(options["path"]),
            memory_mb=int(options.get("memory_mb", 160)),
            threads=int(options.get("threads", 2)),
        )

    def __str__(self) -> str:
        return f"duckdb {self.path.name}"

    def open(self, read_only: bool = False) -> None:
        """The file is ours until `close`.

        Raises: Transient while another process has it open.
        """
        import duckdb

        if self._database is not None:
            return
        if read_only and not self.path.exists():
            raise PenstockError(f"there is no warehouse at {self.path} yet", fix="penstock run")
        path = self.path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "threads": self.threads,
            "memory_limit": f"{self.memory_mb}MB",
            "temp_directory": str(path.with_name(f"{path.name}.spill")),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
        }
        attach = f"ATTACH IF NOT EXISTS {literal(str(path))} AS {_CATALOG}"
        database = None
        try:
            # Named by its path: objects of one process share the instance, and so the file.
            database = duckdb.connect(f":memory:{path}", config=settings)
            database.execute(f"{attach} ({'READ_ONLY' if read_only else 'READ_WRITE'})")
        except duckdb.Error as error:
            if database is not None:
                database.close()
            raise self._not_opened(error) from error
        self._database = database

    def _not_opened(self, error: Exception) -> PenstockError:
        held = _HELD.search(str(error))
        if held:
            return Transient(
                f"another process has {self.path.name} open (PID {held[2]}, {held[1]})",
                where=str(self.path),
                why="a DuckDB file is written by one process at a time",
                fix="wait for that process, or end it",
                retry_after_s=5,
            )
        if "different configuration" in str(error) or "already attached" in str(error):
            return Transient(
                f"this process has {self.path.name} open in another way", where=str(self.path)
            )
        return Rejected(
            f"{self.path.name} does not open as a DuckDB file",
            where=str(self.path),
            why=str(error),
            fix="give warehouse.path another name, or the version of DuckDB that wrote it",
        )

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def identity(self) -> str | None:
        """Why: nothing is bound here, since to bind DuckDB imports pandas, where there is one."""
        with self._session() as session:
            found = session.rows(
                f"SELECT 1 FROM duckdb_tables() WHERE database_name = {literal(_CATALOG)} "
                "AND schema_name = 'penstock' AND table_name = '_penstock_warehouse'"
            )
            ids = session.rows("SELECT id FROM penstock._penstock_warehouse") if found else []
            return ids[0][0] if ids else None

    def set_up(self, identity: str) -> None:
        with self._session() as session:
            for statement in ledger.definitions():
                session.run(statement)
            session.run(
                "INSERT INTO penstock._penstock_warehouse SELECT $1, $2 "
                "WHERE NOT EXISTS (SELECT 1 FROM penstock._penstock_warehouse)",
                (identity, datetime.now(UTC)),
            )

    def load(self, request: LoadRequest) -> list[Receipt]:
        """As every warehouse does; one at a time, since loads side by side share the memory.

        Why: each column of a table that is written takes about 0.75 MB of each thread, so that a
        wide one may need more than there is. It then goes on with a single thread.
        """
        import duckdb

        with self._turn:
            self._make_lock(str(request.target))
            try:
                return self._load(request)
            except Transient as error:
                if self.threads == 1 or not isinstance(
                    error.__cause__, duckdb.OutOfMemoryException
                ):
                    raise
            self.threads = 1
            with self._session() as session:
                session.run("SET threads = 1")
            return self._load(request)

    def _load(self, request: LoadRequest) -> list[Receipt]:
        with self._session(f"{request.target.stream} -> {request.target}") as session:
            return load(session, request, datetime.now(UTC))

    def _make_lock(self, target: str) -> None:
        import duckdb

        try:
            with self._session() as session:
                select = "SELECT 1 FROM penstock._penstock_locks WHERE target = $1"
                if not session.rows(select, (target,)):
                    session.run("INSERT INTO penstock._penstock_locks VALUES ($1, '')", (target,))
        except Rejected as error:
            # Another thread made it at the same time.
            if not isinstance(error.__cause__, duckdb.ConstraintException):
                raise

    def close_run(self, closing: Closing, target: str) -> None:
        self._make_lock(target)
        with self._session(target) as session:
            ledger.take_lock(session, target, "")
            ledger.write_closing(session, closing, target)

    def ledger(self, target: str | None = None) -> list[LedgerRow]:
        with self._session() as session:
            return ledger.read_ledger(session, target)

    def count(self, target: Target, by_chunk: bool = False) -> Mapping[str, int]:
        with self._session(str(target)) as session:
            if session.columns(target) is None:
                return {} if by_chunk else {"": 0}
            select = f"SELECT {CHUNK if by_chunk else literal('')}, count(*) FROM"
            end = f"GROUP BY {CHUNK}" if by_chunk else ""
            return dict(session.rows(f"{select} {session.table(target)} {end}"))

    def query(self, sql: str, limit: int | None = None) -> Rows:
        """The answer of any SQL, committed; moments are datetimes in UTC."""
        with self._session("query") as session:
            return session.answer(sql, limit)

    @contextmanager
    def _session(self, where: str = "") -> Iterator[_Session]:
        """One transaction: committed at the end, rolled back at an error."""
        import duckdb

        if self._database is None:
            raise PenstockError(f"{self.path.name} is not open")
        connection, committed = self._database.cursor(), False
        try:
            connection.execute(f"USE {_CATALOG}; SET TimeZone = 'UTC'")
            connection.execute("BEGIN")
            yield _Session(connection)
            connection.execute("COMMIT")
            committed = True
        except duckdb.Error as error:
            raise _understood(error, where or str(self.path)) from error
        finally:
            if not committed:
                with suppress(duckdb.Error):
                    connection.execute("ROLLBACK")
            connection.close()


def _understood(error: Exception, where: str) -> PenstockError:
    """The error by what the caller must do."""
    import duckdb

    why = str(error)
    if isinstance(error, duckdb.DependencyException):
        return Rejected(
            "load rejected: a column changes its type, and an index stands on the table",
            where=where,
            why=why,
            fix="drop the index, load again, and create it anew",
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return Transient(
            "DuckDB has too little memory for this load",
            where=where,
            why=why.partition("\n")[0],
            fix="give it more: warehouse: {type: duckdb, memory_mb: 512}",
        )
    if isinstance(error, duckdb.ConversionException):
        return Rejected("load rejected: a value does not fit its column", where=where, why=why)
    transient = (
        duckdb.TransactionException,
        duckdb.IOException,
        duckdb.FatalException,
        duckdb.InternalException,
        duckdb.InterruptException,
        duckdb.ConnectionException,
    )
    if isinstance(error, transient):
        return Transient("DuckDB could not do it now", where=where, why=why)
    return Rejected("DuckDB refused", where=where, why=why)


class _Session:
    """One transaction of DuckDB."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        answer = self._connection.execute(sql, list(values)).fetchone()
        return int(answer[0]) if answer and isinstance(answer[0], int) else 0

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(values)).fetchall()

    def schema(self, target: Target) -> str:
        return f"{_CATALOG}.{quote(target.schema)}"

    def table(self, target: Target) -> str:
        return f"{self.schema(target)}.{quote(target.table)}"

    def columns(self, target: Target) -> Mapping[str, str] | None:
        import duckdb

        views = self.rows(
            "SELECT 1 FROM duckdb_views() WHERE database_name = $1 "
            "AND lower(schema_name) = lower($2) AND lower(view_name) = lower($3)",
            (_CATALOG, target.schema, target.table),
        )
        if views:
            raise Rejected(
                f"{target} is a view", fix="rename the view, or give the stream another load.table"
            )
        try:
            # Not from duckdb_columns(), which takes longer with every table of the file.
            found = self.rows(f"DESCRIBE {self.table(target)}")
        except duckdb.CatalogException:
            return None
        return {row[0]: logical_type(row[1]) for row in found}

    def type_name(self, logical: str) -> str:
        return duckdb_type(logical)

    def fold(self, name: str) -> str:
        return name.lower()

    def binary(self, expression: str) -> str:
        return expression

    def finish(self, target: Target) -> None:
        """Nothing: an index would cost more than the joins of a load."""

    def file_rows(self, paths: Sequence[str]) -> Mapping[str, int]:
        return file_rows(self._connection, paths)

    def file_columns(self, path: str) -> Mapping[str, str]:
        return file_columns(self._connection, path)

    def append(self, target: Target, columns: Mapping[str, str], files: Sequence[Files]) -> int:
        names = ", ".join(quote(name) for name in columns)
        return self.run(
            f"INSERT INTO {self.table(target)} ({names}) {select_staged(columns, files)}"
        )

    def stage(self, columns: Mapping[str, str], files: Sequence[Files]) -> str:
        return f"({select_staged(columns, files)})"

    def answer(self, sql: str, limit: int | None) -> Rows:
        relation: Any = self._connection.sql(sql)
        if relation is None:
            return Rows((), (), ())
        names, types = tuple(relation.columns), tuple(str(kind) for kind in relation.types)
        if any(ZONED in kind for kind in types):
            inner = sql.rstrip().rstrip(";")
            relation = self._connection.sql(with_moments_as_text(f"({inner}\n)", types))
        found = relation.fetchall() if limit is None else relation.fetchmany(limit)
        return Rows(names, types, with_moments(found, types))
