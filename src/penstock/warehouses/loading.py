"""The load transaction, the same for every warehouse that speaks SQL.

Each step is one statement or a few; the caller begins before and commits after, so that rows and
ledger change together or not at all (DESIGN.md, rules 9 to 12 and 14).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from penstock.engine import quote
from penstock.errors import Rejected
from penstock.model import LoadRequest, Receipt, Staged, Target
from penstock.warehouses.columns import widened
from penstock.warehouses.ledger import (
    Facts,
    Statements,
    Verdict,
    batches,
    decide,
    marks,
    read_facts,
    replaces_files,
    take_lock,
    write_entries,
    write_swap,
)
from penstock.warehouses.staged import (
    CHUNK,
    FILE,
    GENERATION,
    ROW,
    SEQ,
    Files,
    groups,
    wanted,
)

KEYS = "_penstock_keys"
GREATEST = "_penstock_greatest"
KNOWN = "_penstock_known"
"""Temporary tables of a merge: the stage's keys with their places in the order of writes, and of
those the greatest of each key; `KNOWN` says whether the table had the key before."""
MERGE_ROWS = 1_000_000
"""Rows of one merge; a larger request is merged in several, since what is sorted is held."""


class Session(Statements, Protocol):
    """A transaction of one warehouse, and what its SQL does not say alike everywhere."""

    def table(self, target: Target) -> str:
        """The table's name in SQL; its schema's name in front cannot be taken for anything else."""

    def schema(self, target: Target) -> str: ...

    def columns(self, target: Target) -> Mapping[str, str] | None:
        """The table's columns and their logical types; None if there is no such table.

        Raises: Rejected if a view, or something else, has its name.
        """

    def type_name(self, logical: str) -> str: ...

    def fold(self, name: str) -> str:
        """The name, alike for all spellings that the warehouse takes for one column."""

    def binary(self, expression: str) -> str:
        """The text expression, compared by its bytes."""

    def finish(self, target: Target) -> None:
        """What a table has besides its columns stands, after its first rows went in."""

    def file_rows(self, paths: Sequence[str]) -> Mapping[str, int]:
        """Rows of each staged file, by its own account."""

    def file_columns(self, path: str) -> Mapping[str, str]: ...

    def append(self, target: Target, columns: Mapping[str, str], files: Sequence[Files]) -> int:
        """The files' rows are in the table; how many."""

    def stage(self, columns: Mapping[str, str], files: Sequence[Files]) -> str:
        """A FROM item that gives the files' rows with these columns, until the transaction ends."""


def load(session: Session, request: LoadRequest, at: datetime) -> list[Receipt]:
    """All of the request is done, but for the COMMIT."""
    take_lock(session, str(request.target), request.load_id)
    facts = read_facts(session, request)
    verdict = decide(request, facts, at)
    receipts = {receipt.chunk: receipt for receipt in verdict.known}
    if not verdict.nothing:
        for receipt in _apply(session, request, facts, verdict, at):
            receipts[receipt.chunk] = receipt
    return [receipts[chunk] for chunk in dict.fromkeys(s.commit.chunk for s in request.chunks)]


def _apply(
    session: Session, request: LoadRequest, facts: Facts, verdict: Verdict, at: datetime
) -> list[Receipt]:
    target = request.target
    _check_files(session, target, verdict.load)
    files = groups(verdict.load, session.file_columns)
    table = _prepare(session, request, files)
    columns, filled = table.columns, table.filled
    if filled:
        _remove(session, request, facts, verdict, table)
    merged: dict[str, tuple[int, int]] = {}
    if files and target.write == "merge":
        for part in _parts(verdict.load):
            some = groups(part, session.file_columns)
            merged |= _merge(session, target, columns, some, filled)
            filled = True
    elif files:
        _append(session, target, columns, files, verdict.load)
    if files and not table.filled:
        session.finish(target)
    if verdict.replaces and request.swap is not None:
        write_swap(session, request, request.swap)
    write_entries(session, request, verdict, at)
    return [
        *(_receipt(staged, "loaded", request, at, merged) for staged in verdict.load),
        *(_receipt(staged, "superseded", request, at, {}) for staged in verdict.superseded),
    ]


def _parts(chunks: Sequence[Staged]) -> Iterator[Sequence[Staged]]:
    """The chunks with rows, in parts of about MERGE_ROWS."""
    part: list[Staged] = []
    rows = 0
    for staged in chunks:
        if not staged.paths:
            continue
        if part and rows + staged.commit.counts.good > MERGE_ROWS:
            yield part
            part, rows = [], 0
        part.append(staged)
        rows += staged.commit.counts.good
    if part:
        yield part


def _receipt(
    staged: Staged,
    status: str,
    request: LoadRequest,
    at: datetime,
    merged: Mapping[str, tuple[int, int]],
) -> Receipt:
    commit = staged.commit
    receipt = Receipt(
        commit.chunk, commit.generation, staged.seq, "superseded", 0, request.load_id, at
    )
    if status == "superseded":
        return receipt
    everything = (commit.counts.good, 0) if request.target.write != "merge" else (0, 0)
    inserted, updated = merged.get(str(commit.chunk), everything)
    return replace(
        receipt,
        status="loaded",
        rows=commit.counts.good,
        inserted=inserted,
        updated=updated,
    )


def _check_files(session: Session, target: Target, chunks: Sequence[Staged]) -> None:
    """Every file holds the rows its commit record says.

    Raises: Rejected for the first chunk whose files do not.
    """
    sizes = session.file_rows([path for staged in chunks for path in staged.paths])
    for staged in chunks:
        rows = sum(sizes[path] for path in staged.paths)
        if rows != staged.commit.counts.good:
            raise Rejected(
                f"chunk rejected: its staged files hold {rows} rows, "
                f"its commit record says {staged.commit.counts.good}",
                where=f"{target.stream} -> {target}, chunk {staged.commit.chunk}",
                why="a staged file was changed after it was committed",
                fix=f"penstock replay --select {target.stream}",
            )


# ---- the table


@dataclass(frozen=True, slots=True)
class _Table:
    """The table as this transaction found or made it."""

    columns: Mapping[str, str]
    """Those that the request fills, by the names and types that the table has."""
    filled: bool
    by_file: bool
    """Whether rows say which file they came from."""


def _prepare(session: Session, request: LoadRequest, files: Sequence[Files]) -> _Table:
    """The table stands and holds every wanted column."""
    target, table = request.target, session.table(request.target)
    want = wanted(request, files)
    _check_names(session, target, want)
    have = session.columns(target)
    if have is None:
        listed = ", ".join(f"{quote(n)} {session.type_name(t)}" for n, t in want.items())
        session.run(f"CREATE SCHEMA IF NOT EXISTS {session.schema(target)}")
        session.run(f"CREATE TABLE {table} ({listed})")
        return _Table(want, False, FILE in want)
    spelled = {session.fold(name): name for name in have}
    if session.fold(CHUNK) not in spelled or session.fold(SEQ) not in spelled:
        raise Rejected(
            f"the table {target} is not Penstock's: it has no column {CHUNK}",
            where=f"{target.stream} -> {target}",
            why="rows of others stand in it, and would be mixed with the stream's",
            fix="rename that table, or give the stream another load.table",
        )
    columns = {}
    for name, logical in want.items():
        known = spelled.get(session.fold(name))
        if known is None:
            session.run(
                f"ALTER TABLE {table} ADD COLUMN {quote(name)} {session.type_name(logical)}"
            )
            columns[name] = logical
            continue
        columns[known] = wide = widened(have[known], logical)
        if wide != have[known]:
            kind = session.type_name(wide)
            session.run(
                f"ALTER TABLE {table} ALTER COLUMN {quote(known)} SET DATA TYPE {kind} "
                f"USING CAST({quote(known)} AS {kind})"
            )
    (filled,) = session.rows(f"SELECT EXISTS (SELECT 1 FROM {table})")
    return _Table(columns, bool(filled[0]), session.fold(FILE) in spelled)


def _check_names(session: Session, target: Target, names: Iterable[str]) -> None:
    """Raises: Rejected for names that the warehouse cannot hold, or not tell apart."""
    for name in (target.schema, target.table):
        session.fold(name)
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(session.fold(name), name)
        if other != name:
            raise Rejected(
                f'load rejected: "{other}" and "{name}" are one column to the warehouse',
                where=f"{target.stream} -> {target}",
                fix=f"give one of them another name: columns: {{other_name: {{from: {name}}}}}",
            )


def _remove(
    session: Session,
    request: LoadRequest,
    facts: Facts,
    verdict: Verdict,
    known: _Table,
) -> None:
    """Rows that the request replaces are gone: a swap's, an older generation's, a file's."""
    table, target = session.table(request.target), request.target
    swap = request.swap
    if verdict.replaces and swap is not None and swap.scope == "table":
        session.run(f"DELETE FROM {table} WHERE {SEQ} < $1", (swap.seq,))
    elif verdict.replaces and swap is not None and known.by_file:
        paths = sorted({path for path, _ in swap.window.claims})
        _remove_files(session, table, paths, swap.seq)
    if target.write == "merge":
        return
    again = [
        str(staged.commit.chunk)
        for staged in (*verdict.load, *verdict.superseded)
        if str(staged.commit.chunk) in facts.entries
    ]
    for batch in batches(again):
        session.run(f"DELETE FROM {table} WHERE {CHUNK} IN ({marks(len(batch))})", batch)
    if replaces_files(target) and known.by_file:
        stale: dict[int, set[str]] = {}
        earliest = dict(sorted(facts.origins, key=lambda known: -known[1]))
        for staged in verdict.load:
            path = staged.commit.origin
            if earliest.get(path, staged.seq) < staged.seq:
                stale.setdefault(staged.seq, set()).add(path)
        for seq, files in stale.items():
            _remove_files(session, table, sorted(files), seq)


def _remove_files(session: Session, table: str, paths: Sequence[str], seq: int) -> None:
    for batch in batches(paths):
        session.run(
            f"DELETE FROM {table} WHERE {FILE} IN ({marks(len(batch), 2)}) AND {SEQ} < $1",
            (seq, *batch),
        )


# ---- the rows


def _append(
    session: Session,
    target: Target,
    columns: Mapping[str, str],
    files: Sequence[Files],
    chunks: Sequence[Staged],
) -> None:
    good = sum(staged.commit.counts.good for staged in chunks)
    rows = session.append(target, columns, files)
    if rows != good:
        raise Rejected(
            f"load rejected: {rows} rows went in, the commit records say {good}",
            where=f"{target.stream} -> {target}",
            why="a staged file was changed after it was committed",
            fix=f"penstock replay --select {target.stream}",
        )


def _merge(
    session: Session,
    target: Target,
    columns: Mapping[str, str],
    files: Sequence[Files],
    filled: bool,
) -> Mapping[str, tuple[int, int]]:
    """Each key's row is the greatest of the stage and the table; (inserted, updated) by chunk.

    Why: first the greatest rows of the stage are found by their keys alone, since whole rows
    would have to be sorted; then the table's rows that they beat go, and a key that the table
    still has beats the stage.
    """
    table, stage = session.table(target), session.stage(columns, files)
    keys = [_spelled(session, columns, name) for name in target.primary_key]
    version = _spelled(session, columns, target.version) if target.version else None
    same = " AND ".join(f"t.{quote(key)} = s.{quote(key)}" for key in keys)
    kept = [*keys, *([version] if version and version not in keys else [])]
    listed = ", ".join(quote(name) for name in (*kept, SEQ, GENERATION, CHUNK, ROW))
    known = f"EXISTS (SELECT 1 FROM {table} t WHERE {same})" if filled else "false"
    session.run(
        f"CREATE TEMPORARY TABLE {KEYS} AS SELECT {listed}, {known} AS {KNOWN} FROM {stage} s"
    )
    by = ", ".join(quote(key) for key in keys)
    twice = f"SELECT 1 FROM {KEYS} GROUP BY {by} HAVING count(*) > 1"
    ((updates, repeated),) = session.rows(
        f"SELECT (SELECT count(*) FROM {KEYS} WHERE {KNOWN}), EXISTS ({twice})"
    )
    greatest = KEYS
    if repeated:
        greatest = GREATEST
        order = _newest_first(session, columns, version)
        place = f"row_number() OVER (PARTITION BY {by} ORDER BY {order})"
        session.run(
            f"""CREATE TEMPORARY TABLE {GREATEST} AS SELECT {listed}, {KNOWN} FROM (
                SELECT *, {place} AS _penstock_place FROM {KEYS}) s WHERE _penstock_place = 1"""
        )
    if updates:
        beats = _beats(session, columns, version)
        session.run(f"DELETE FROM {table} t USING {greatest} s WHERE {same} AND {beats}")
        session.run(f"DELETE FROM {greatest} s WHERE EXISTS (SELECT 1 FROM {table} t WHERE {same})")
    names = ", ".join(quote(name) for name in columns)
    values = ", ".join(f"s.{quote(name)}" for name in columns)
    insert = f"INSERT INTO {table} ({names}) SELECT {values} FROM {stage} s"
    if repeated or updates:
        insert += f" JOIN {greatest} k ON k.{CHUNK} = s.{CHUNK} AND k.{ROW} = s.{ROW}"
    session.run(insert)
    counted = session.rows(
        f"""SELECT {CHUNK}, count(*) FILTER (WHERE NOT {KNOWN}), count(*) FILTER (WHERE {KNOWN})
        FROM {greatest} GROUP BY {CHUNK}"""
    )
    for name in {KEYS, greatest}:
        session.run(f"DROP TABLE {name}")
    return {chunk: (inserted, updated) for chunk, inserted, updated in counted}


def _spelled(session: Session, columns: Mapping[str, str], name: str) -> str:
    for known in columns:
        if session.fold(known) == session.fold(name):
            return known
    raise Rejected(
        f'load rejected: the staged rows have no column "{name}"',
        why="it is the primary key or version of the stream",
        fix="name an output column in primary_key and version",
    )


def _newest_first(session: Session, columns: Mapping[str, str], version: str | None) -> str:
    order = [SEQ, GENERATION, session.binary(quote(CHUNK)), ROW]
    if version:
        order.insert(0, f"{_comparable(session, columns, version)} DESC NULLS LAST, {order.pop(0)}")
    return ", ".join(f"{name} DESC" for name in order)


def _beats(session: Session, columns: Mapping[str, str], version: str | None) -> str:
    """Whether the stage's row `s` is at least the table's row `t`; NULL is oldest."""

    def place(side: str) -> str:
        chunk = session.binary(f"{side}.{CHUNK}")
        return (
            f"({side}.{SEQ}, coalesce({side}.{GENERATION}, -1), {chunk}, "
            f"coalesce({side}.{ROW}, -1))"
        )

    later = f"{place('s')} >= {place('t')}"
    if not version:
        return later
    new, old = (_comparable(session, columns, version, side) for side in ("s.", "t."))
    return (
        f"CASE WHEN {new} IS NULL AND {old} IS NULL THEN {later} WHEN {new} IS NULL THEN false "
        f"WHEN {old} IS NULL THEN true WHEN {new} = {old} THEN {later} ELSE {new} > {old} END"
    )


def _comparable(session: Session, columns: Mapping[str, str], name: str, side: str = "") -> str:
    expression = f"{side}{quote(name)}"
    return session.binary(expression) if columns[name] in ("varchar", "json") else expression
