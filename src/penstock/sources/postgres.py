"""Postgres as a source: tables, views and queries, whole or by cursor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import Transient
from penstock.model import Json, Kind, Slice, Window
from penstock.pipeline import SourceConfig, Stream
from penstock.ports import Claims, Dataset, Piece
from penstock.sources import postgres_catalog as catalog
from penstock.sources import postgres_plan as planning
from penstock.sources import postgres_read as reading
from penstock.sources.postgres_session import Login, Session

_BUSY_S = 60.0


class PostgresSource:
    """One database. Safe to use from several threads.

    Shape: one connection asks (describe, plan, discover); at most `concurrency` others read.
    """

    def __init__(
        self,
        login: Login,
        *,
        concurrency: int = 1,
        naive_timestamps: str | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._login = login
        self._zone = naive_timestamps
        self._wait = wait
        self._readers = threading.BoundedSemaphore(concurrency)
        self._lock = threading.RLock()
        self._session: Session | None = None

    @classmethod
    def from_config(
        cls,
        config: SourceConfig,
        directory: Path,
    ) -> PostgresSource:
        """The source, not yet connected; nothing of it lies in `directory`.

        Raises: SpecError if its address cannot be understood.
        """
        del directory
        return cls(
            Login.from_config(config),
            concurrency=config.concurrency,
            naive_timestamps=config.naive_timestamps,
        )

    def check(self) -> str:
        """The database has answered: its version, name and size, and what we may see."""
        with self._asking() as session:
            version, database, tables, user, sees = session.row(f"""
                SELECT split_part(current_setting('server_version'), ' ', 1),
                    current_database()::text, (SELECT count(*) FROM pg_class c
                        JOIN pg_namespace n ON n.oid = c.relnamespace
                        WHERE c.relkind IN ('r', 'p') AND {catalog.OWN_SCHEMAS}),
                    current_user::text, {planning.SEES_OTHERS}""")
        return (
            f"PostgreSQL {version}, database {database}, {tables} tables, user {user}; "
            f"sees other sessions: {'yes' if sees else 'no'}"
        )

    def discover(self) -> list[Dataset]:
        """Every table and view, with its columns, key and likely cursors."""
        with self._asking() as session:
            return catalog.discover(session, self._zone)

    def describe(self, stream: Stream) -> Dataset:
        """What the stream would read, and the database's own key.

        Raises: Rejected if the table, the query or a named column is not there.
        """
        with self._asking() as session:
            return catalog.dataset_of(catalog.relation_of(session, stream, self._zone))

    def plan(self, stream: Stream, kind: Kind, cursor: Json, claims: Claims) -> Window:
        """The closed window after `cursor`, and its slices; none when nothing is new."""
        del claims
        with self._asking() as session:
            relation = catalog.relation_of(session, stream, self._zone)
            return planning.plan(session, relation, stream, kind, cursor, self._wait)

    def read(self, stream: Stream, part: Slice, position: Json, folder: Path) -> Iterator[Piece]:
        """The slice's pieces after `position`; each slice is read by a connection of its own.

        Raises: Transient when `concurrency` others are reading for longer than a minute.
        """
        if not self._readers.acquire(timeout=_BUSY_S):
            raise Transient("every connection of the source is reading", where=self._login.where)
        try:
            with Session(self._login) as session:
                relation = catalog.relation_of(session, stream, self._zone)
                yield from reading.read(session, relation, stream, part, position, folder)
        finally:
            self._readers.release()

    def close(self) -> None:
        """The asking connection is closed; it opens again when asked."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    @contextmanager
    def _asking(self) -> Iterator[Session]:
        with self._lock:
            if self._session is None:
                session = Session(self._login)
                session.open()
                self._session = session
            try:
                yield self._session
            except Transient:
                self.close()
                raise
