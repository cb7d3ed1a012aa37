"""The ports of the real stages, each call of which is a point where anything may happen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from tests.faults.lockstep import Lockstep
from tests.faults.source import Row, ScriptedSource

from penstock.model import Closing, Json, LoadRequest, Receipt
from penstock.ports import Delivery, Depth, Entry, LedgerRow, StoredObject
from penstock.testing.clock import ManualClock
from penstock.testing.memory import MemoryJournal, MemoryStore
from penstock.warehouses.duckdb import _CATALOG, DuckDBWarehouse
from penstock.warehouses.ledger import read_ledger

Say = Callable[..., None]


@dataclass
class SteppedJournal:
    inner: MemoryJournal
    lockstep: Lockstep
    say: Say

    def read(self, key: str) -> Entry | None:
        return self.lockstep.call(f"journal read {key}", lambda: self.inner.read(key))

    def swap(self, key: str, value: Json, expected: int | str | None) -> bool:
        return self.lockstep.call(f"journal swap {key}", lambda: self._swap(key, value, expected))

    def _swap(self, key: str, value: Json, expected: int | str | None) -> bool:
        swapped = self.inner.swap(key, value, expected)
        shown = _window(value) if key.startswith("plan/") else value
        self.say(_who(self.lockstep), "swaps", key, shown, "" if swapped else "- in vain")
        return swapped

    def remove(self, key: str, expected: int | str) -> bool:
        return self.lockstep.call(f"journal remove {key}", lambda: self._remove(key, expected))

    def _remove(self, key: str, expected: int | str) -> bool:
        removed = self.inner.remove(key, expected)
        self.say(_who(self.lockstep), "removes", key, "" if removed else "- in vain")
        return removed

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Pages of two, each as it was when it was read."""
        after = ""
        while True:
            page = self.lockstep.call(f"journal scan {prefix}", partial(self._page, prefix, after))
            yield from page
            if len(page) < 2:
                return
            after = page[-1].key

    def _page(self, prefix: str, after: str) -> list[Entry]:
        return [entry for entry in self.inner.scan(prefix) if entry.key > after][:2]


@dataclass
class SteppedStore:
    """Shape: `ever` has what was first stored under each name, `rows` the rows of each raw file."""

    inner: MemoryStore
    lockstep: Lockstep
    say: Say
    source: ScriptedSource
    ever: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def create(self, key: str, body: bytes) -> bool:
        return self.lockstep.call(f"store create {key}", lambda: self._create(key, body))

    def _create(self, key: str, body: bytes) -> bool:
        created = self.inner.create(key, body)
        if created:
            self.ever.setdefault(key, body)
        self.say(
            _who(self.lockstep),
            "creates",
            key,
            self._shown(key, body),
            "" if created else "- in vain",
        )
        return created

    def _shown(self, key: str, body: bytes) -> str:
        value = json.loads(body)
        if key.startswith("raw/") and "file" in value:
            uids = [f"u{row.uid}" for row in self.rows[value["file"]["key"]]]
            return f"{' '.join(uids) or 'no rows'}{', last' if value['last'] else ''}"
        if key.startswith("staging/"):
            counts = value["counts"]
            return f"{counts['good']} good, {counts['quarantined']} quarantined"
        return "" if key.startswith("receipts/") else body.decode()

    def adopt(self, path: Path, key: str) -> None:
        self.lockstep.call(f"store adopt {key}", lambda: self._adopt(path, key))

    def _adopt(self, path: Path, key: str) -> None:
        self.inner.adopt(path, key)
        self.ever.setdefault(key, self.inner.read(key) or b"")
        if path in self.source.pieces:
            self.rows[key] = self.source.pieces[path]

    def read(self, key: str) -> bytes | None:
        return self.lockstep.call(f"store read {key}", lambda: self.inner.read(key))

    def fetch(self, key: str, folder: Path) -> Path:
        return self.lockstep.call(f"store fetch {key}", lambda: self.inner.fetch(key, folder))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        yield from self.lockstep.call(f"store list {prefix}", lambda: list(self.inner.list(prefix)))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.lockstep.call(f"store delete {key}", lambda key=key: self.inner.delete([key]))  # type: ignore[misc]


@dataclass
class SteppedQueue:
    """At least once, in no order. The director delivers; `letters` are the living messages."""

    lockstep: Lockstep
    say: Say
    letters: dict[str, tuple[str, str]] = field(default_factory=dict)
    """id -> (queue, body)"""
    graveyard: list[tuple[str, str]] = field(default_factory=list)
    """What was acknowledged or lost, to come again."""
    dead_letters: int = 0
    max_receives: int = 1_000_000
    _sent: int = 0

    def send(self, queue: str, bodies: Sequence[str], delay_s: float = 0) -> None:
        for body in bodies:
            self.lockstep.call(f"queue send {queue}", lambda body=body: self.put(queue, body))  # type: ignore[misc]

    def put(self, queue: str, body: str) -> None:
        worker = self.lockstep.current
        assert worker is None or not worker.acked, "it acknowledged before it had sent all"
        self._sent += 1
        self.letters[f"m{self._sent}"] = (queue, body)

    def missing(self, queue: str, bodies: Sequence[str]) -> list[str]:
        there = self.lockstep.call("queue missing", lambda: set(self.letters.values()))
        return [body for body in dict.fromkeys(bodies) if (queue, body) not in there]

    def ack(self, delivery: Delivery) -> None:
        self.lockstep.call("queue ack", lambda: self._ack(delivery))

    def _ack(self, delivery: Delivery) -> None:
        if self.lockstep.current is not None:
            self.lockstep.current.acked = True
        self.bury(delivery.id)

    def bury(self, id_: str) -> None:
        letter = self.letters.pop(id_, None)
        if letter is not None:
            self.graveyard.append(letter)

    def retry(self, delivery: Delivery, delay_s: float, reason: str) -> None:
        self.lockstep.call("queue retry", lambda: None)

    def reject(self, delivery: Delivery, reason: str) -> None:
        self.lockstep.call("queue reject", lambda: self._reject(delivery, reason))

    def _reject(self, delivery: Delivery, reason: str) -> None:
        self.say("rejected:", delivery.body[:0], reason.split("\n")[0])
        self.dead_letters += 1
        self.bury(delivery.id)

    def depth(self, queue: str) -> Depth:
        return Depth(0, 0, 0, 0)


class SteppedWarehouse(DuckDBWarehouse):
    """A real DuckDB, in memory, each statement of which is a point where anything may happen."""

    def __init__(self, lockstep: Lockstep, say: Say) -> None:
        super().__init__(Path(":memory:"), memory_mb=64, threads=1)
        self._lockstep, self._say = lockstep, say
        self.changes = 0
        self.closed: dict[str, list[LedgerRow]] = {}
        """What the ledger said of each run when it was closed."""

    def open(self, read_only: bool = False) -> None:
        """Opened as ever, but for the file, which is none."""
        self._database = duckdb.connect(config={"threads": 1, "memory_limit": "64MB"})
        self._database.execute(f"ATTACH ':memory:' AS {_CATALOG}")

    @contextmanager
    def _session(self, where: str = "") -> Iterator[Any]:
        with super()._session(where) as session:
            yield _SteppedSession(session, self._lockstep)
            self._lockstep.call("warehouse commit", lambda: None)
        self._lockstep.call("warehouse committed", lambda: None)

    def load(self, request: LoadRequest) -> list[Receipt]:
        # Without the turn that loads of one process take: other processes take none.
        self._make_lock(str(request.target))
        receipts = self._load(request)
        self.changes += 1
        told = ", ".join(f"{r.chunk} g{r.generation} {r.status} {r.rows} rows" for r in receipts)
        self._say(_who(self._lockstep), "swaps in" if request.swap else "loads", told)
        return receipts

    def close_run(self, closing: Closing, target: str) -> None:
        super().close_run(closing, target)
        if closing.run_id not in self.closed:
            self.closed[closing.run_id] = self.ledger_of(closing.run_id)
        self._say(_who(self._lockstep), "closes run", closing.run_id)

    def ledger_of(self, run_id: str) -> list[LedgerRow]:
        with super()._session() as session:
            rows = read_ledger(session, None)
        return [row for row in rows if row.chunk.run_id == run_id]


class _SteppedSession:
    def __init__(self, inner: Any, lockstep: Lockstep) -> None:
        self._inner, self._lockstep = inner, lockstep

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._lockstep.call(_short(sql), lambda: self._inner.run(sql, values))

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._lockstep.call(_short(sql), lambda: self._inner.rows(sql, values))

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self._lockstep.call(_short(sql), lambda: self._inner.many(sql, rows))

    def lock(self, target: str, load_id: str) -> None:
        self._lockstep.call("warehouse lock", lambda: self._inner.lock(target, load_id))

    def append(self, *arguments: Any) -> int:
        return self._lockstep.call("warehouse insert", lambda: self._inner.append(*arguments))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _window(plan: Json) -> str:
    window = plan["window"]
    told = f"{plan['run_id']} seq {plan['seq']} {plan['kind']} ({window['lo']}, {window['hi']}]"
    return f"{told} by hand" if plan["by_hand"] else told


def _short(sql: str) -> str:
    return "warehouse " + " ".join(sql.split())[:60]


def _who(lockstep: Lockstep) -> str:
    return lockstep.current.name if lockstep.current else "director"


@dataclass
class SimulatedWorkspace:
    """What `Workers` asks of a workspace, over stepped ports."""

    journal: SteppedJournal
    store: SteppedStore
    queue: SteppedQueue
    clock: ManualClock
    folder: Path
    log: Any
    stream_of: Callable[[str, str], Any]
    reader: Callable[[Any], Any]

    def read_reference(self, text: str) -> str:
        return text
