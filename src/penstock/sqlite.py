"""One SQLite file, open in many processes: what the journal and the queue have in common."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from penstock.errors import Broken, PenstockError, Transient

_BUSY_TIMEOUT_S = 60


class Database:
    """A connection of this process's own, opened at first use and shared by its threads.

    Shape: `schema` is run once, where `table` is not there yet.

    Why: SQLite has one writer at a time anyway. In WAL mode every commit is safe from a killed
    process; with `sync="FULL"` also from a power cut, at the price of one sync a commit.
    """

    def __init__(
        self, path: Path, table: str, schema: str, sync: Literal["FULL", "NORMAL"]
    ) -> None:
        self.path = path
        self._table, self._schema, self._sync = table, schema, sync
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What one statement gave; a writing one is a transaction of its own."""
        with self._lock, self._errors():
            return self._open().execute(sql, values).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The block's statements are one transaction, alone among all processes.

        Why: the write lock is taken first; a reader that turns into a writer can fail at once.
        """
        with self._lock, self._errors():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """The connection is closed; the next use opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self.path.with_name(self.path.name + ".opening")):
                self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute(f"PRAGMA synchronous = {self._sync}")
            there = "SELECT 1 FROM sqlite_master WHERE name = ?"
            if not connection.execute(there, (self._table,)).fetchall():
                connection.execute("BEGIN IMMEDIATE")
                for statement in self._schema.split(";"):
                    connection.execute(statement)
                connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What SQLite and the filesystem say, in terms of what to do."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _explained(error, self.path) from error
        except OSError as error:
            raise _unusable(str(error), self.path) from error


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process is in this block.

    Why: going over to WAL does not wait for its turn: of ten processes that open a new file
    together, some get "database is locked" (tests/contracts/test_journals.py).
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _explained(error: sqlite3.DatabaseError, path: Path) -> PenstockError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Transient(
                "another process holds the state file",
                where=str(path),
                why=f"{error}, for {_BUSY_TIMEOUT_S} s",
                fix="see who has it open: fuser " + str(path),
            )
        case sqlite3.SQLITE_FULL:
            return Transient(
                "the disk is full",
                where=str(path),
                why=str(error),
                fix="make room: penstock gc removes what is past its retention",
            )
        case sqlite3.SQLITE_IOERR:
            return Transient("the disk did not answer", where=str(path), why=str(error))
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Broken(
                "the state file is damaged",
                where=str(path),
                why=str(error),
                fix="restore it from a backup, or start anew in an empty storage folder",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return _unusable(str(error), path)
    raise error


def _unusable(why: str, path: Path) -> PenstockError:
    return PenstockError(
        "the state file cannot be written",
        where=str(path),
        why=why,
        fix=f"give this user rights on {path.parent}, or set another storage.url",
    )
