"""The journal in a SQLite file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from penstock.clock import SystemClock
from penstock.codec import to_json
from penstock.model import Json
from penstock.ports import Clock, Entry
from penstock.sqlite import Database

_SCHEMA = """
CREATE TABLE entries (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL, changed_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE versions (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER);
INSERT INTO versions VALUES (1, 0)
"""
_COLUMNS = "key, value, version, changed_at"
_PAGE = 500


class SqliteJournal:
    """Entries of one file, for many threads and processes. A change survives a power cut.

    Why: versions come from one counter of the file. A version per entry would start again after
    `remove`, and a worker that slept through both would overwrite what it never read.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._database = Database(path, "entries", _SCHEMA, sync="FULL")
        self._clock = clock or SystemClock()

    def read(self, key: str) -> Entry | None:
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM entries WHERE key = ?", (key,))
        return _entry(rows[0]) if rows else None

    def swap(self, key: str, value: Json, expected: int | str | None) -> bool:
        text, now = to_json(value), self._clock.now().isoformat()
        with self._database.transaction() as connection:
            found = connection.execute("SELECT version FROM entries WHERE key = ?", (key,))
            if (found.fetchone() or (None,))[0] != expected:
                return False
            connection.execute("UPDATE versions SET last = last + 1")
            connection.execute(
                f"INSERT OR REPLACE INTO entries ({_COLUMNS}) SELECT ?, ?, last, ? FROM versions",
                (key, text, now),
            )
        return True

    def remove(self, key: str, expected: int | str) -> bool:
        removed = self._database.rows(
            "DELETE FROM entries WHERE key = ? AND version = ? RETURNING key", (key, expected)
        )
        return bool(removed)

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Every entry whose key starts with `prefix`, each as it was when its page was read."""
        last, after = prefix, ">="
        while True:
            page = self._database.rows(
                f"SELECT {_COLUMNS} FROM entries WHERE key {after} ? ORDER BY key LIMIT ?",
                (last, _PAGE),
            )
            for row in page:
                if not row[0].startswith(prefix):
                    return
                yield _entry(row)
            if len(page) < _PAGE:
                return
            last, after = page[-1][0], ">"

    def close(self) -> None:
        """The file is closed; the next use opens it again."""
        self._database.close()


def _entry(row: tuple[Any, ...]) -> Entry:
    key, value, version, changed_at = row
    return Entry(key, json.loads(value), version, datetime.fromisoformat(changed_at))
