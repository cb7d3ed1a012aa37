"""The ledger that stands beside the rows: its tables, what it knows, and what becomes of a chunk.

DESIGN.md, rules 9 to 12 and 14. `decide` is pure: it is given what the ledger knew under the
target's lock, so that every order of loading the same files leaves the same table
(`penstock.testing.warehouses`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeVar

from penstock.errors import Transient
from penstock.model import ChunkId, Closing, LoadRequest, Plan, Receipt, Staged, Target
from penstock.ports import LedgerRow

T = TypeVar("T")
SCHEMA = "penstock"
TABLES: Mapping[str, str] = {
    "_penstock_loads": """
        target varchar NOT NULL, chunk varchar NOT NULL, run_id varchar NOT NULL,
        stream varchar NOT NULL, generation integer NOT NULL, seq bigint NOT NULL,
        status varchar NOT NULL, "rows" bigint NOT NULL, origin varchar NOT NULL,
        load_id varchar NOT NULL, contract_version integer NOT NULL,
        loaded_at timestamptz NOT NULL, PRIMARY KEY (target, chunk)""",
    "_penstock_locks": "target varchar PRIMARY KEY, load_id varchar NOT NULL",
    "_penstock_swaps": """
        target varchar NOT NULL, path varchar NOT NULL, seq bigint NOT NULL,
        run_id varchar NOT NULL, PRIMARY KEY (target, path, seq)""",
    "_penstock_runs": """
        target varchar NOT NULL, run_id varchar NOT NULL, stream varchar NOT NULL,
        seq bigint NOT NULL, "read" bigint NOT NULL, good bigint NOT NULL,
        quarantined bigint NOT NULL, filtered bigint NOT NULL, deduplicated bigint NOT NULL,
        loaded bigint NOT NULL, superseded bigint NOT NULL, chunks bigint NOT NULL,
        closed_at timestamptz NOT NULL, PRIMARY KEY (target, run_id)""",
    "_penstock_warehouse": "id varchar PRIMARY KEY, created_at timestamptz NOT NULL",
}
"""Every table of the ledger. A swap of path '' replaced the whole table, else that file's rows."""

_BATCH = 500


class Statements(Protocol):
    """A transaction that takes SQL with `$1`-style values."""

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """The statement has run; gives the rows it touched."""

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of one chunk."""

    generation: int
    seq: int
    status: Literal["loaded", "superseded"]
    rows: int
    load_id: str
    loaded_at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger knows of a request's chunks, read under the target's lock."""

    closed: frozenset[str] = frozenset()
    entries: Mapping[str, Entry] = field(default_factory=dict)
    swap_seq: int = -1
    """The highest seq that replaced the whole table; -1: none."""
    path_swaps: Mapping[str, int] = field(default_factory=dict)
    """By path: the highest seq that replaced its rows."""
    origins: frozenset[tuple[str, int]] = frozenset()
    """Every (origin, seq) of the request's origins that the ledger has a chunk of."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What this transaction does with each chunk; `known` need nothing."""

    known: tuple[Receipt, ...]
    superseded: tuple[Staged, ...]
    load: tuple[Staged, ...]
    replaces: bool
    """Whether a swap deletes, and records itself."""

    @property
    def nothing(self) -> bool:
        return not (self.superseded or self.load or self.replaces)


def decide(request: LoadRequest, facts: Facts, at: datetime) -> Verdict:
    """What becomes of each chunk of the request; of a chunk asked twice, the newest generation."""
    newest: dict[ChunkId, Staged] = {}
    for staged in request.chunks:
        other = newest.get(staged.commit.chunk)
        if other is None or staged.commit.generation > other.commit.generation:
            newest[staged.commit.chunk] = staged
    paths = _newest_of_paths(request, facts, newest.values())
    known: list[Receipt] = []
    superseded: list[Staged] = []
    load: list[Staged] = []
    for chunk, staged in newest.items():
        commit = staged.commit
        entry = facts.entries.get(str(chunk))
        if chunk.run_id in facts.closed:
            known.append(
                Receipt(chunk, commit.generation, staged.seq, "closed", 0, request.load_id, at)
            )
        elif entry is not None and entry.generation >= commit.generation:
            known.append(_received(chunk, entry))
        elif facts.swap_seq > staged.seq or paths.get(commit.origin, -1) > staged.seq:
            superseded.append(staged)
        else:
            load.append(staged)
    return Verdict(tuple(known), tuple(superseded), tuple(load), _replaces(request, facts))


def replaces_files(target: Target) -> bool:
    """Whether a file that comes again replaces its own rows.

    Why: never for merge. A row of file A may have won over B's; were it deleted because A came
    again without it, B's row would be there or not by the order of loading.
    """
    return target.reupload == "replace" and target.write != "merge"


def _replaces(request: LoadRequest, facts: Facts) -> bool:
    swap = request.swap
    if swap is None or swap.run_id in facts.closed or facts.swap_seq >= swap.seq:
        return False
    if swap.scope == "table":
        return True
    paths = {path for path, _ in swap.window.claims}
    return request.target.write != "merge" and any(
        facts.path_swaps.get(path, -1) < swap.seq for path in paths
    )


def _newest_of_paths(
    request: LoadRequest, facts: Facts, chunks: Iterable[Staged]
) -> Mapping[str, int]:
    """By path: the highest seq known of it; a lower one of the same path is superseded."""
    newest = dict(facts.path_swaps)
    if replaces_files(request.target):
        asked = (
            (staged.commit.origin, staged.seq)
            for staged in chunks
            if staged.commit.chunk.run_id not in facts.closed
        )
        for path, seq in (*facts.origins, *asked):
            newest[path] = max(newest.get(path, -1), seq)
    newest.pop("", None)
    return newest


def _received(chunk: ChunkId, entry: Entry) -> Receipt:
    return Receipt(
        chunk,
        entry.generation,
        entry.seq,
        entry.status,
        entry.rows,
        entry.load_id,
        entry.loaded_at,
    )


# ---- SQL


def definitions() -> Iterator[str]:
    """Statements that make the ledger where it does not stand yet."""
    yield f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"
    for table, columns in TABLES.items():
        yield f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{table} ({columns})"


def take_lock(statements: Statements, target: str, load_id: str) -> None:
    """The target is ours until the transaction ends: its row is written, which nobody else can.

    Why: in Postgres another load waits here, and reads what we left; in DuckDB it fails at once
    by a write-write conflict, and is tried again.
    """
    update = "UPDATE penstock._penstock_locks SET load_id = $2 WHERE target = $1 RETURNING target"
    if not statements.rows(update, (target, load_id)):
        raise Transient(f"the lock of {target} has no row")


def read_facts(statements: Statements, request: LoadRequest) -> Facts:
    """What the ledger knows of the request's chunks and paths."""
    target = str(request.target)
    chunks = {str(staged.commit.chunk) for staged in request.chunks}
    runs = {staged.commit.chunk.run_id for staged in request.chunks}
    paths = {staged.commit.origin for staged in request.chunks} - {""}
    if request.swap is not None:
        runs.add(request.swap.run_id)
        paths.update(path for path, _ in request.swap.window.claims)
    closed = _among(
        statements, "SELECT run_id FROM penstock._penstock_runs", target, "run_id", runs
    )
    swaps = "SELECT path, max(seq) FROM penstock._penstock_swaps"
    path_swaps = dict(_among(statements, swaps, target, "path", {*paths, ""}, "GROUP BY path"))
    origins = "SELECT DISTINCT origin, seq FROM penstock._penstock_loads"
    entries = _among(statements, _ENTRIES, target, "chunk", chunks)
    return Facts(
        frozenset(row[0] for row in closed),
        {row[0]: _entry(row[1:]) for row in entries},
        path_swaps.pop("", -1),
        path_swaps,
        frozenset(_among(statements, origins, target, "origin", paths)),
    )


_ENTRIES = """SELECT chunk, generation, seq, status, "rows", load_id,
    loaded_at AT TIME ZONE 'UTC' FROM penstock._penstock_loads"""


def _entry(row: Sequence[Any]) -> Entry:
    generation, seq, status, rows, load_id, loaded_at = row
    return Entry(generation, seq, status, rows, load_id, loaded_at.replace(tzinfo=UTC))


def _among(
    statements: Statements, select: str, target: str, column: str, names: set[str], end: str = ""
) -> Iterator[tuple[Any, ...]]:
    for batch in batches(sorted(names)):
        where = f"WHERE target = $1 AND {column} IN ({marks(len(batch), 2)})"
        yield from statements.rows(f"{select} {where} {end}", (target, *batch))


def batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values, as many at a time as a statement takes."""
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def marks(count: int, first: int = 1) -> str:
    """Places of `count` values: `$1, $2, …`."""
    return ", ".join(f"${number}" for number in range(first, first + count))


def write_entries(
    statements: Statements, request: LoadRequest, verdict: Verdict, at: datetime
) -> None:
    """Every chunk that was loaded or superseded has its row, of this generation."""
    _insert(
        statements,
        """INSERT INTO penstock._penstock_loads (target, chunk, run_id, stream, generation, seq,
            status, "rows", origin, load_id, contract_version, loaded_at)""",
        """ON CONFLICT (target, chunk) DO UPDATE SET generation = excluded.generation,
            seq = excluded.seq, status = excluded.status, "rows" = excluded."rows",
            origin = excluded.origin, load_id = excluded.load_id,
            contract_version = excluded.contract_version, loaded_at = excluded.loaded_at""",
        [
            (
                str(request.target),
                str(staged.commit.chunk),
                staged.commit.chunk.run_id,
                staged.commit.chunk.stream,
                staged.commit.generation,
                staged.seq,
                status,
                staged.commit.counts.good if status == "loaded" else 0,
                staged.commit.origin,
                request.load_id,
                staged.commit.contract_version,
                at,
            )
            for status, chunks in (("loaded", verdict.load), ("superseded", verdict.superseded))
            for staged in chunks
        ],
    )


def _insert(
    statements: Statements, insert: str, conflict: str, rows: Sequence[Sequence[Any]]
) -> None:
    # Many rows to a statement: DuckDB takes 5 ms for each statement that may conflict.
    for some in batches(rows):
        width = len(some[0])
        listed = ", ".join(f"({marks(width, 1 + width * place)})" for place in range(len(some)))
        values = [value for row in some for value in row]
        statements.run(f"{insert} VALUES {listed} {conflict}", values)


def write_swap(statements: Statements, request: LoadRequest, swap: Plan) -> None:
    """The swap is on record, so that rows of a lower seq that come later are superseded."""
    paths = [""] if swap.scope == "table" else sorted({path for path, _ in swap.window.claims})
    _insert(
        statements,
        "INSERT INTO penstock._penstock_swaps (target, path, seq, run_id)",
        "ON CONFLICT DO NOTHING",
        [(str(request.target), path, swap.seq, swap.run_id) for path in paths],
    )


def write_closing(statements: Statements, closing: Closing, target: str) -> None:
    """The run is closed for this target; a record already there stays."""
    counts = closing.counts
    statements.run(
        f"""INSERT INTO penstock._penstock_runs (target, run_id, stream, seq, "read", good,
            quarantined, filtered, deduplicated, loaded, superseded, chunks, closed_at)
        VALUES ({marks(13)}) ON CONFLICT DO NOTHING""",
        (
            target,
            closing.run_id,
            closing.key.stream,
            closing.seq,
            counts.read,
            counts.good,
            counts.quarantined,
            counts.filtered,
            counts.deduplicated,
            closing.loaded,
            closing.superseded,
            closing.chunks,
            closing.closed_at,
        ),
    )


def read_ledger(statements: Statements, target: str | None) -> list[LedgerRow]:
    """Every row of the ledger, or of one target's, in the order of targets and chunks."""
    where, values = ("WHERE target = $1", (target,)) if target is not None else ("", ())
    found = statements.rows(
        f"""SELECT target, chunk, generation, seq, status, "rows", load_id,
            loaded_at AT TIME ZONE 'UTC' FROM penstock._penstock_loads {where}""",
        values,
    )
    rows = [
        LedgerRow(
            name,
            ChunkId.parse(chunk),
            generation,
            seq,
            status,
            count,
            load_id,
            at.replace(tzinfo=UTC),
        )
        for name, chunk, generation, seq, status, count, load_id, at in found
    ]
    return sorted(rows, key=lambda row: (row.target, str(row.chunk)))
