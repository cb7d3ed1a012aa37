"""A read-only session with a Postgres server, over ADBC, and its failures as Penstock's own."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from penstock.errors import PenstockError, Rejected, SpecError, Transient
from penstock.pipeline import SourceConfig

APPLICATION = "penstock-extract"
"""How our sessions are known to each other: they cannot write, so no plan waits for them."""
BATCH_BYTES = 32 * 1024 * 1024
CONNECT_TIMEOUT_S = 10

_SETTINGS = {
    "default_transaction_read_only": "on",
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "xmloption": "content",
}
_TRANSIENT_STATES = ("08", "40", "53", "55P03", "57")
_TRANSIENT_TEXTS = (
    "connection refused",
    "connection to server was lost",
    "server closed the connection",
    "could not receive data",
    "could not send data",
    "connection reset",
    "connection timed out",
    "timeout expired",
    "temporary failure in name resolution",
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "the database system is",
    "terminating connection",
    "canceling statement",
    "no connection to the server",
    "ssl syscall error",
    "eof detected",
)
_FIXES = (
    ("password authentication failed", "correct user and password, or the secret that holds them"),
    ("no password supplied", "give the source a password: password: ${secret:…}"),
    ("could not translate host name", "correct host: no such name is known here"),
    ("name or service not known", "correct host: no such name is known here"),
    ("role", "correct user"),
    ("database", "correct database; psql -l lists what the server has"),
    ("no pg_hba.conf entry", "allow this user and host there, or try sslmode: require"),
    ("ssl", "set sslmode and sslrootcert as the server asks"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Login:
    """How a server is reached; every field is plain text, nothing is escaped."""

    source: str
    host: str = ""
    port: str = ""
    database: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    more: Mapping[str, str] = field(default_factory=dict)
    statement_timeout_s: float = 0

    @classmethod
    def from_config(cls, config: SourceConfig) -> Login:
        """The login of a source whose options are open: {url} or {host, port, database, …}.

        Raises: SpecError if the url cannot be understood.
        """
        options = config.options
        values = _from_url(config, options["url"]) if options.get("url") else {}
        for name in ("host", "port", "database", "user", "password", "sslmode", "sslrootcert"):
            if options.get(name) is not None:
                values[name] = str(options[name])
        own = {name: values.pop(name, "") for name in ("host", "port", "database", "user")}
        password = values.pop("password", "")
        timeout_s = float(options.get("statement_timeout") or 0)
        return cls(
            config.name, **own, password=password, more=values, statement_timeout_s=timeout_s
        )

    @property
    def where(self) -> str:
        """The place as a reader knows it, without the password."""
        return (
            f"source {self.source}: {self.user or '(default user)'}@{self.host or 'localhost'}"
            + (f":{self.port}" if self.port else "")
            + f"/{self.database}"
        )

    def conninfo(self) -> str:
        """What libpq takes; values are escaped here, so that no password needs escaping."""
        values = {
            **self.more,
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password,
            "application_name": APPLICATION,
            "client_encoding": "UTF8",
        }
        values.setdefault("connect_timeout", str(CONNECT_TIMEOUT_S))
        values.setdefault("keepalives_idle", "30")
        return " ".join(f"{name}={_conninfo_value(text)}" for name, text in values.items() if text)


def _conninfo_value(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _from_url(config: SourceConfig, url: str) -> dict[str, str]:
    scheme, found, rest = url.partition("://")
    login, _, address = rest.rpartition("@")
    user, _, password = login.partition(":")
    parts = urlsplit("//" + address)
    if not found or scheme not in ("postgres", "postgresql"):
        raise SpecError(
            "the url is none of Postgres",
            where=f"source {config.name}, line {config.line}",
            fix="url: postgresql://host:5432/database",
        )
    values = {
        "user": unquote(user),
        "password": unquote(password),
        "host": unquote(parts.hostname or ""),
        "port": str(parts.port or ""),
        "database": unquote(parts.path.removeprefix("/")),
        **dict(parse_qsl(parts.query)),
    }
    if "dbname" in values:
        values["database"] = values.pop("dbname")
    return {name: text for name, text in values.items() if text}


class _ArrowArrayStream(ctypes.Structure):
    """Source: https://arrow.apache.org/docs/format/CStreamInterface.html"""

    _fields_: ClassVar = [
        ("get_schema", ctypes.c_void_p),
        ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
        ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)),
        ("release", ctypes.c_void_p),
        ("private_data", ctypes.c_void_p),
    ]


class StreamError(Exception):
    """The server, or the way to it, failed in the middle of an answer."""


class Batches:
    """The batches of an answer, none of them empty.

    Why: nanoarrow's own `get_next` holds the interpreter's lock while the server thinks, and with
    it every other thread: leases are not extended, other stages stand still
    (tests/sources/postgres/test_reading.py). A call through ctypes gives the lock away.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._raw = _ArrowArrayStream.from_address(stream._addr())  # noqa: SLF001
        self.schema: Any = stream.get_schema()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.next, None)

    def next(self) -> Any:
        """The next batch, or None when there is no more.

        Raises: StreamError, inside `Session.batches` only.
        """
        from nanoarrow.c_array import allocate_c_array

        while True:
            batch = allocate_c_array(self.schema)
            stream = self._stream._addr()  # noqa: SLF001
            if self._raw.get_next(stream, batch._addr()):  # noqa: SLF001
                raise StreamError(
                    (self._raw.get_last_error(stream) or b"").decode(errors="replace")
                )
            if not batch.is_valid():
                return None
            if batch.length:
                return batch


class Session:
    """One connection, autocommitting, that cannot write."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._database: Any = None
        self._connection: Any = None

    @property
    def where(self) -> str:
        return self._login.where

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connected, and set up so that every value has one spelling.

        Why: set by statements, not by the `options` start-up parameter, which poolers refuse.
        """
        try:
            import adbc_driver_manager  # noqa: F401
            import adbc_driver_postgresql  # noqa: F401
            import nanoarrow  # noqa: F401
        except ImportError as error:
            raise SpecError(
                "the Postgres driver is not installed",
                where=f"source {self._login.source}",
                why=str(error),
                fix="pip install 'penstock[postgres]'",
            ) from error
        try:
            self._connect()
        except PenstockError:
            self.close()
            raise

    def _connect(self) -> None:
        import adbc_driver_manager
        import adbc_driver_postgresql

        with self.reported():
            self._database = adbc_driver_manager.AdbcDatabase(
                driver=adbc_driver_postgresql._driver_path(),  # noqa: SLF001
                uri=self._login.conninfo(),
            )
            self._connection = adbc_driver_manager.AdbcConnection(self._database)
        timeout_ms = str(round(self._login.statement_timeout_s * 1000))
        settings = {**_SETTINGS, "statement_timeout": timeout_ms}
        calls = ", ".join(
            f"set_config('{name}', '{value}', false)" for name, value in settings.items()
        )
        self.rows(f"SELECT {calls}")

    def close(self) -> None:
        """The connection is gone; a statement that still runs is cancelled with it."""
        for handle in (self._connection, self._database):
            if handle is not None:
                handle.close()
        self._connection = self._database = None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The query's rows; ask for text, integers and booleans only."""
        import nanoarrow

        found: list[tuple[Any, ...]] = []
        with self.batches(sql) as batches:
            for batch in batches:
                columns = [nanoarrow.Array(child).to_pylist() for child in batch.children]
                found.extend(zip(*columns, strict=True))
        return found

    def row(self, sql: str) -> tuple[Any, ...]:
        """The query's only row."""
        return self.rows(sql)[0]

    def schema(self, sql: str) -> Any:
        """The Arrow schema that the query would answer with."""
        import adbc_driver_manager
        import nanoarrow

        with self.reported(sql):
            statement = adbc_driver_manager.AdbcStatement(self._connection)
            try:
                statement.set_sql_query(sql)
                return nanoarrow.c_schema(statement.execute_schema())
            finally:
                statement.close()

    @contextmanager
    def batches(self, sql: str) -> Iterator[Batches]:
        """The query's answer, batch by batch, for as long as this is open."""
        import adbc_driver_manager
        import nanoarrow

        with self.reported(sql):
            statement = adbc_driver_manager.AdbcStatement(self._connection)
            try:
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
                statement.set_sql_query(sql)
                handle, _ = statement.execute_query()
                with nanoarrow.c_array_stream(handle) as stream:
                    yield Batches(stream)
            finally:
                statement.close()

    @contextmanager
    def reported(self, sql: str = "") -> Iterator[None]:
        """Failures of the driver in here leave as Transient, Rejected or SpecError."""
        import adbc_driver_manager
        from nanoarrow._utils import NanoarrowException

        try:
            yield
        except (adbc_driver_manager.Error, NanoarrowException, StreamError) as error:
            raise failure(self._login, error, sql) from None


def failure(login: Login, error: Exception, sql: str = "") -> PenstockError:
    """What the driver said, as what the caller must do.

    Why: a wrong password or a missing table stays wrong however often it is tried; an error
    within a stream carries no SQLSTATE, so that its text decides.
    """
    text = str(error)
    if login.password:
        text = text.replace(login.password, "***")
    state = str(getattr(error, "sqlstate", None) or "")
    found = re.search(r"SQLSTATE: (\w{5})", text)
    state = state if state.strip("\0") else (found[1] if found else "")
    why = _shortened(text)
    lower = why.lower()
    if "statement timeout" in lower:
        return Transient(
            "the query took longer than statement_timeout", where=login.where, why=why,
            fix="raise statement_timeout of the source, or read less at a time (parallel)",
        )  # fmt: skip
    if state.startswith(_TRANSIENT_STATES) or any(part in lower for part in _TRANSIENT_TEXTS):
        return Transient("the database does not answer now", where=login.where, why=why)
    if "invalid byte sequence" in lower:
        return Rejected(
            "a text is not UTF-8, and the database does not know what else it is",
            where=login.where, why=why,
            fix="say it in a query: convert_from(convert(convert_to(name, 'SQL_ASCII'), "
            "'LATIN1', 'UTF8'), 'SQL_ASCII') AS name",
        )  # fmt: skip
    if "failed to connect" in lower or "connection to server" in lower:
        fix = next((fix for part, fix in _FIXES if part in lower), "correct the source's address")
        return Rejected("the database cannot be reached", where=login.where, why=why, fix=fix)
    return Rejected(
        "the database refused the query", where=login.where, why=why, fix=_query_fix(state, sql)
    )


def _query_fix(state: str, sql: str) -> str:
    if state == "42501":
        return "grant the user USAGE on the schema and SELECT on the table"
    if state in ("42P01", "42703", "3F000"):
        return "correct the names in the pipeline file: penstock discover lists what is there"
    if state == "25006":
        return "a source is only read: remove what writes from the query"
    if state.startswith("22"):
        return "the value does not fit its column's type: correct it in the pipeline file"
    return f"the query was: {sql[:300]}" if sql else ""


def _shortened(text: str) -> str:
    """The server's own words, in one line."""
    text = re.sub(r"\n*Query was:.*", "", text, flags=re.DOTALL)
    text = re.sub(r"^[A-Z_]+: (?=\[|Failed)", "", text)
    text = re.sub(r"\[libpq\] (Execution error \[\w+\]: )?", "", text)
    text = re.sub(r"SQLSTATE: \w{5}\.?", "", text)
    return " ".join(text.split())
