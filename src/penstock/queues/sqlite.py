"""The queue in a SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from penstock.ports import Clock, DeadLetter, Delivery, Depth
from penstock.queues.workers import Workers
from penstock.sqlite import Database

_SCHEMA = """
CREATE TABLE messages (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    queue TEXT NOT NULL,
    body TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    visible_at INTEGER NOT NULL,
    received INTEGER NOT NULL DEFAULT 0,
    receipt TEXT,
    worker TEXT,
    reason TEXT,
    dead_at INTEGER
);
CREATE INDEX messages_alive ON messages (queue, place) WHERE dead_at IS NULL;
CREATE INDEX messages_leased ON messages (worker) WHERE worker IS NOT NULL;
CREATE INDEX messages_dead ON messages (dead_at) WHERE dead_at IS NOT NULL
"""
_ALIVE = "queue = ? AND dead_at IS NULL"
_OURS = "id = ? AND receipt = ?"
_FREE = "receipt = NULL, worker = NULL"


class SqliteQueue:
    """Queues of one file, for many threads and processes; oldest messages first.

    Messages survive a killed process. A power cut may take the last moments' sends and acks
    (synchronous=NORMAL: no sync a message); reconcile sends again what was lost, and a stage
    that runs twice has one effect.

    A message of a worker that was killed is visible at once, not after `visibility_s`: every
    receiving process holds a lock that the operating system frees (see `workers`). What a
    thread of a living process forgot is visible after `visibility_s`.
    """

    def __init__(
        self, path: Path, clock: Clock, visibility_s: float = 120, max_receives: int = 20
    ) -> None:
        self._database = Database(path, "messages", _SCHEMA, sync="NORMAL")
        self._workers = Workers(path.parent / "workers")
        self._clock = clock
        self._visibility_s, self.max_receives = visibility_s, max_receives
        self._changed = threading.Condition()
        self._changes = 0
        self._seen = threading.local()

    def send(self, queue: str, bodies: Sequence[str], delay_s: float = 0) -> None:
        """The messages are stored, all or none, and survive a killed process."""
        now, visible_at = self._at(), self._at(delay_s)
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO messages (queue, id, body, sent_at, visible_at)"
                " VALUES (?, ?, ?, ?, ?)",
                [(queue, uuid.uuid4().hex, body, now, visible_at) for body in bodies],
            )
        self.wake()

    def missing(self, queue: str, bodies: Sequence[str]) -> list[str]:
        """Those bodies that no living message of the queue carries, each once."""
        found = self._database.rows(
            f"SELECT body FROM messages WHERE {_ALIVE}"
            " AND body IN (SELECT value FROM json_each(?))",
            (queue, json.dumps(list(bodies))),
        )
        there = {body for (body,) in found}
        return [body for body in dict.fromkeys(bodies) if body not in there]

    def receive(self, queue: str, limit: int = 1) -> list[Delivery]:
        self._seen.changes = self._changes
        if not self._is_ready(queue) and not self._free_the_dead():
            return []
        taken: list[tuple[Any, ...]] = []
        with self._database.transaction() as connection:
            while more := self._take(connection, queue, limit - len(taken)):
                taken += [row for row in more if row[4] <= self.max_receives]
                self._bury(connection, [row for row in more if row[4] > self.max_receives])
        return [
            Delivery(queue, id_, body, receipt, received, _time(sent_at))
            for _, id_, body, receipt, received, sent_at in sorted(taken)
        ]

    def _take(self, connection: sqlite3.Connection, queue: str, limit: int) -> list[Any]:
        """The oldest visible messages, hidden and counted."""
        return connection.execute(
            f"""
            UPDATE messages SET received = received + 1, visible_at = ?,
                receipt = lower(hex(randomblob(16))), worker = ?
            WHERE place IN (
                SELECT place FROM messages WHERE {_ALIVE} AND visible_at <= ?
                ORDER BY place LIMIT ?
            )
            RETURNING place, id, body, receipt, received, sent_at
            """,
            (self._at(self._visibility_s), self._workers.own(), queue, self._at(), limit),
        ).fetchall()

    def _bury(self, connection: sqlite3.Connection, taken: list[Any]) -> None:
        """These messages, received too often already, lie in the DLQ instead."""
        connection.executemany(
            f"""
            UPDATE messages SET dead_at = ?, {_FREE}, received = received - 1,
                reason = coalesce(reason || '; ', '')
                    || 'received ' || (received - 1) || ' times without an answer'
            WHERE place = ?
            """,
            [(self._at(), row[0]) for row in taken],
        )

    def _is_ready(self, queue: str) -> bool:
        """Whether something is visible; asked without the write lock, so that idling is free."""
        sql = f"SELECT 1 FROM messages WHERE {_ALIVE} AND visible_at <= ? LIMIT 1"
        return bool(self._database.rows(sql, (queue, self._at())))

    def _free_the_dead(self) -> bool:
        """Whether messages of killed workers were found; they are visible now."""
        leased = "SELECT DISTINCT worker FROM messages WHERE worker IS NOT NULL"
        freed = False
        for (worker,) in self._database.rows(leased):
            with self._workers.if_dead(worker) as is_dead:
                if is_dead:
                    with self._database.transaction() as connection:
                        connection.execute(
                            f"UPDATE messages SET visible_at = ?, {_FREE} WHERE worker = ?",
                            (self._at(), worker),
                        )
                    freed = True
        return freed

    def wait(self, timeout_s: float) -> None:
        """Something may be ready, or `timeout_s` has passed.

        Returns at once if this process sent something since this thread's last `receive`. What
        other processes send is seen after `timeout_s`.
        """
        seen = getattr(self._seen, "changes", self._changes)
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen, timeout_s)

    def wake(self) -> None:
        """Every thread of this process that waits looks again."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def ack(self, delivery: Delivery) -> None:
        """The message is gone, unless it was received anew meanwhile."""
        self._database.rows(
            f"DELETE FROM messages WHERE {_OURS} RETURNING id", (delivery.id, delivery.receipt)
        )

    def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        if delivery.received >= self.max_receives:
            self.reject(delivery, f"{reason}; received {delivery.received} times")
            return
        self._database.rows(
            f"UPDATE messages SET visible_at = ?, reason = ?, {_FREE} WHERE {_OURS} RETURNING id",
            (self._at(delay_s), reason, delivery.id, delivery.receipt),
        )
        self.wake()

    def reject(self, delivery: Delivery, reason: str) -> None:
        self._database.rows(
            f"UPDATE messages SET dead_at = ?, reason = ?, {_FREE} WHERE {_OURS} RETURNING id",
            (self._at(), reason, delivery.id, delivery.receipt),
        )

    def extend(self, delivery: Delivery) -> bool:
        """The visibility timeout starts anew; False if someone else received the message."""
        extended = self._database.rows(
            f"UPDATE messages SET visible_at = ? WHERE {_OURS} RETURNING id",
            (self._at(self._visibility_s), delivery.id, delivery.receipt),
        )
        return bool(extended)

    def depth(self, queue: str) -> Depth:
        now = self._at()
        counted = self._database.rows(
            """
            SELECT count(*) FILTER (WHERE dead_at IS NULL AND visible_at <= ?),
                count(*) FILTER (WHERE dead_at IS NULL AND visible_at > ? AND receipt IS NOT NULL),
                count(*) FILTER (WHERE dead_at IS NULL AND visible_at > ? AND receipt IS NULL),
                count(*) FILTER (WHERE dead_at IS NOT NULL)
            FROM messages WHERE queue = ?
            """,
            (now, now, now, queue),
        )
        return Depth(*counted[0])

    def dead(self, queue: str | None = None) -> list[DeadLetter]:
        """The dead letters, those that died first at the front."""
        rows = self._database.rows(
            """
            SELECT queue, id, body, reason, received, sent_at, dead_at FROM messages
            WHERE dead_at IS NOT NULL AND (? IS NULL OR queue = ?) ORDER BY dead_at, place
            """,
            (queue, queue),
        )
        return [
            DeadLetter(name, id_, body, reason, received, _time(sent_at), _time(dead_at))
            for name, id_, body, reason, received, sent_at, dead_at in rows
        ]

    def redrive(self, ids: Sequence[str]) -> int:
        done = self._each_dead(
            "UPDATE messages SET dead_at = NULL, received = 0, reason = NULL, visible_at = ?",
            (self._at(),),
            ids,
        )
        self.wake()
        return done

    def discard(self, ids: Sequence[str]) -> int:
        """Those dead letters are gone; says how many there were."""
        return self._each_dead("DELETE FROM messages", (), ids)

    def _each_dead(self, change: str, values: tuple[object, ...], ids: Sequence[str]) -> int:
        sql = f"{change} WHERE id = ? AND dead_at IS NOT NULL"
        with self._database.transaction() as connection:
            return sum(connection.execute(sql, (*values, each)).rowcount for each in ids)

    def close(self) -> None:
        """The file is closed, and messages still in flight are visible to other processes."""
        self._database.close()
        self._workers.close()
        self.wake()

    def _at(self, later_s: float = 0) -> int:
        """Microseconds since 1970, `later_s` from now."""
        return (self._clock.now() - _EPOCH + timedelta(seconds=later_s)) // _MICROSECOND


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND
