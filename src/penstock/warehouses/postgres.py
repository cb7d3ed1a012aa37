"""Postgres as the warehouse, over ADBC: rows arrive by binary COPY, exactly as they were staged.

`sort_key` and `dist_key` have no meaning here and are ignored. A `json` column stays `json`, not
jsonb, which would change the order of keys and drop those that come twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.engine import connect
from penstock.errors import PenstockError, Rejected, SpecError, Transient
from penstock.model import Closing, LoadRequest, Receipt, Target
from penstock.pipeline import WarehouseConfig
from penstock.ports import LedgerRow, Rows
from penstock.warehouses import ledger
from penstock.warehouses.loading import load
from penstock.warehouses.postgres_session import PostgresSession
from penstock.warehouses.staged import CHUNK

_SETTINGS = {
    "application_name": "penstock-load",
    "timezone": "UTC",
    "client_min_messages": "warning",
    "lock_timeout": "60s",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
}
"""Why: read committed, so that what is read after the lock is what the last holder committed."""

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
    def from_config(cls, config: WarehouseConfig, directory: Path) -> PostgresWarehouse:
        """The warehouse that a pipeline file names: {url} or {host, port, database, user, …}."""
        options = {name: str(value) for name, value in config.options.items() if value is not None}
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
            ledger.take_lock(session, target, "")
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
    ) -> Iterator[PostgresSession]:
        """One transaction: committed at the end, rolled back at an error.

        Shape: `lockable` is a target whose lock has a row before the transaction begins; staged
        files are read below `folders`.
        """
        import adbc_driver_manager

        if self._database is None:
            raise PenstockError(f"{self.place} is not open")
        with _understood(where or self.place):
            connection = adbc_driver_manager.AdbcConnection(self._database)
            engine = connect(folders)
            session, committed = PostgresSession(connection, engine), False
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
