"""The closed window that is safe to read now, and its slices.

A row is safe when nothing that is still open could put another one below it. Time cursors stop
below the clock, `lookback` and the start of the oldest open transaction; other cursors stop at the
greatest value seen, once whoever was writing then has finished.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from penstock.errors import Rejected, Transient
from penstock.model import Json, Kind, Slice, Window
from penstock.pipeline import Stream
from penstock.sources.postgres_catalog import Relation, cheap_order
from penstock.sources.postgres_session import APPLICATION, Session
from penstock.sources.postgres_types import (
    INTEGERS,
    ORDERED,
    TIMES,
    PgColumn,
    bind,
    pg_literal,
)

GUARD_S = 0.05
"""A transaction's start is seen by others a moment after it was stamped."""
PREPARED_S = 3600
"""A prepared transaction has forgotten when it began: this long before it was prepared."""
WAIT_S, WAITS = 0.1, 50
"""How long a plan waits for the writers of a table: 5 s."""
_SAMPLE_ROWS = 30_000
_LATE = {
    "materialized view": "the time between its refreshes",
    "foreign table": "what is open on its own server",
}
_ISO = 'YYYY-MM-DD"T"HH24:MI:SS.US'

_TRANSACTIONS = f"""
    SELECT a.pid, a.usename, a.application_name, a.xact_start AS began
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
        AND a.xact_start IS NOT NULL
        AND coalesce(a.backend_type, '') NOT IN ('autovacuum worker', 'walsender')
        AND NOT (a.application_name = '{APPLICATION}' AND a.usename = current_user)
    UNION ALL
    SELECT NULL, p.owner, 'prepared transaction ' || p.gid, p.prepared - interval '{PREPARED_S} s'
    FROM pg_prepared_xacts p WHERE p.database = current_database()
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """(lo, hi] of a cursor; `lo` may be the first value wanted. Values are the cursor's JSON."""

    lo: Json
    hi: Json
    notes: tuple[str, ...] = ()


def plan(
    session: Session,
    relation: Relation,
    stream: Stream,
    kind: Kind,
    cursor: Json,
    wait: Callable[[float], None],
) -> Window:
    """The window after `cursor`, cut into slices; none if it holds nothing."""
    bounds = Bounds(None, None)
    if stream.cursor:
        bounds = _bounds(session, relation, stream, None if kind == "refresh" else cursor, wait)
        goes_on = kind == "increment" and cursor is not None
        if goes_on and not _has_rows(session, relation, stream, cursor, bounds):
            return Window((), bounds.lo, bounds.hi, notes=bounds.notes)
    whole = not stream.cursor or bounds.lo is None
    order, why = _order(session, relation, stream, whole)
    ranges, range_notes = _ranges(session, relation, stream)
    spec: dict[str, Json] = {
        "lo": bounds.lo,
        "hi": bounds.hi,
        "order": [column.name for column in order],
        "limit": None if stream.limit_rows is None else -(-stream.limit_rows // len(ranges)),
    }
    notes = [*bounds.notes, why, *range_notes]
    if stream.cursor and relation.kind in _LATE:
        notes.append(
            f"{relation.name} is a {relation.kind}: lookback must cover {_LATE[relation.kind]}"
        )
    if stream.cursor and whole and relation.column(stream.cursor).nullable:
        notes.append(f"rows without {stream.cursor} are read now; increments do not see them")
    slices = tuple(
        Slice(number, {**spec, "range": part}, resumable=bool(order))
        for number, part in enumerate(ranges)
    )
    return Window(slices, bounds.lo, bounds.hi, notes=tuple(notes))


def _order(
    session: Session, relation: Relation, stream: Stream, whole: bool
) -> tuple[tuple[PgColumn, ...], str]:
    if whole:
        return cheap_order(session, relation)
    key = relation.order
    if not key:
        return (), "read in no order: no primary key that tells rows with one cursor value apart"
    cursor = relation.column(stream.cursor or "")
    order = (cursor, *(column for column in key if column.name != cursor.name))
    names = ", ".join(column.name for column in order)
    return order, f"read in the order of {names}, so that it can go on where it stopped"


# ---- bounds


def _bounds(
    session: Session,
    relation: Relation,
    stream: Stream,
    cursor: Json,
    wait: Callable[[float], None],
) -> Bounds:
    column = relation.column(stream.cursor or "")
    if column.kind not in ORDERED or column.kind in ("bool", "time"):
        raise Rejected(
            f'"{column.name}" cannot be a cursor: its type is {column.type_sql}',
            where=f"stream {stream.name}",
            fix="take a timestamp, a date, a number, or a text that only grows",
        )
    lo = cursor
    if lo is None and stream.initial_value is not None:
        lo = {"value": stream.initial_value, "inclusive": True}
    hi: str | None
    if column.kind in TIMES:
        hi, notes = _time_hi(session, column, stream)
    else:
        hi, notes = _value_hi(session, relation, stream, column, cursor, wait)
        if cursor is not None and stream.lookback:
            lo = _minus(column, cursor, stream)
    if isinstance(lo, dict) and hi is not None:
        (reached,) = session.row(
            f"SELECT {column.value_sql(hi)} >= {column.value_sql(lo['value'])}"
        )
        hi = hi if reached else None  # else the next window would begin below the initial value
    return Bounds(lo, hi, notes)


def _time_hi(session: Session, column: PgColumn, stream: Stream) -> tuple[str, tuple[str, ...]]:
    """The latest moment below which nothing can appear any more, as the column would say it.

    Why: the statement's own start is before it looks at other transactions, so one that begins
    later stamps later. A clock without a zone goes back once a year: the bound stays below every
    local time that is still to come (tests/sources/postgres/test_windows.py).
    """
    guard_s = GUARD_S + stream.lookback + column.precision_s
    zone = "'UTC'" if column.kind == "timestamptz" else _zone(column)
    moment, local, clock_zone, replica, others, privileged, oldest, behind_s = session.row(f"""
        WITH open AS MATERIALIZED ({_TRANSACTIONS}),
        safe AS MATERIALIZED (
            SELECT least(statement_timestamp(), (SELECT min(began) FROM open),
                CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() END
            ) - interval '{guard_s:.6f} s' AS at, {zone} AS zone
        )
        SELECT to_char(at AT TIME ZONE 'UTC', '{_ISO}"+00:00"'),
            to_char({local_bound_sql("at", "zone")}, '{_ISO}'), zone, pg_is_in_recovery(),
            (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND usename IS DISTINCT FROM current_user AND pid <> pg_backend_pid()),
            {SEES_OTHERS},
            (SELECT format('%s (%s, %s)', coalesce(pid::text, '-'), usename, application_name)
                FROM open ORDER BY began LIMIT 1),
            (SELECT extract(epoch FROM statement_timestamp() - min(began))::float8 FROM open)
        FROM safe""")
    notes = []
    if oldest and behind_s > max(stream.lookback, 1):
        notes.append(f"held back {behind_s:.0f} s by the open transaction of {oldest}")
    if replica:
        notes.append(
            "a replica cannot see its primary's open transactions: lookback must cover them"
        )
    elif not privileged and others:
        notes.append(
            "other sessions' transactions are hidden from this user: lookback must cover them, "
            "or grant it pg_read_all_stats"
        )
    if column.kind == "timestamptz":
        return moment, tuple(notes)
    notes.append(f"{column.name} has no zone and is compared with the clock in {clock_zone}")
    if column.kind == "date":
        notes.append(f"{column.name} is a date: a day is read once it is over")
        (day,) = session.row(f"SELECT ({pg_literal(local)}::date - 1)::text")
        return str(day), tuple(notes)
    return local, tuple(notes)


def local_bound_sql(at: str, zone: str) -> str:
    """The latest local time that no moment after `at` shows.

    Why: clocks change at full quarters of an hour, and go back by less than the day looked at.
    """
    quarter = f"to_timestamp(floor(extract(epoch FROM {at}) / 900) * 900)"
    return (
        f"least({at} AT TIME ZONE {zone}, (SELECT min(({quarter} + k * interval '15 min') "
        f"AT TIME ZONE {zone}) FROM generate_series(1, 100) AS k) - interval '1 us')"
    )


SEES_OTHERS = "pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"


def _zone(column: PgColumn) -> str:
    """The zone of a column that has none: as the source says, else the server's default."""
    if column.zone:
        return pg_literal(column.zone)
    return "(SELECT reset_val FROM pg_settings WHERE name = 'TimeZone')"


def _value_hi(
    session: Session,
    relation: Relation,
    stream: Stream,
    column: PgColumn,
    cursor: Json,
    wait: Callable[[float], None],
) -> tuple[Json, tuple[str, ...]]:
    """The greatest value seen, once those who wrote while it was looked up have finished.

    Why: a smaller value may belong to a transaction that is still open; it held its lock on the
    table by then, because it is taken before the value is.
    """
    found = session.rows(
        f"SELECT {column.order_sql}::text AS _penstock_value FROM {relation.sql} "
        f"WHERE {quote_not_null(column)} AND {where_sql(stream)} "
        f"ORDER BY {column.order_sql} DESC LIMIT 1"
    )
    if not found:
        return cursor, ()
    (hi,) = found[0]
    value: Json = int(hi) if column.kind in INTEGERS else hi
    (replica,) = session.row("SELECT pg_is_in_recovery()")
    notes = ("a replica cannot see its primary's writers: lookback must cover them",)
    writers = _writers(session, relation)
    waited = 0
    while writers and waited < WAITS:
        wait(WAIT_S)
        waited += 1
        now = _writers(session, relation)
        writers = {who: what for who, what in writers.items() if who in now}
    if writers:
        who = ", ".join(sorted(writers.values()))
        if cursor is None:
            raise Transient(
                f"others are still writing to {relation.name}", where=f"stream {stream.name}",
                why=f"{who}: a smaller {column.name} than the greatest one seen may be theirs",
            )  # fmt: skip
        return cursor, (f"no progress: still writing to {relation.name}: {who}",)
    return value, notes if replica else ()


def quote_not_null(column: PgColumn) -> str:
    return f"{column.order_sql} IS NOT NULL"


def _writers(session: Session, relation: Relation) -> dict[str, str]:
    """Transactions that hold a lock to write to the table (or, for a view or query, to any)."""
    if relation.oid is not None and relation.kind == "table":
        tables = (
            f"IN (SELECT relid FROM pg_partition_tree({relation.oid}) UNION SELECT {relation.oid})"
        )
    else:
        tables = "NOT IN (SELECT oid FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace)"
    return dict(
        session.rows(f"""
        SELECT l.virtualtransaction, max(format('pid %s%s', coalesce(l.pid::text, '- (prepared)'),
            ', open for ' || round(extract(epoch FROM clock_timestamp() - a.xact_start)) || ' s'))
        FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND l.granted
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock',
                'ExclusiveLock', 'AccessExclusiveLock')
            AND l.pid IS DISTINCT FROM pg_backend_pid()
            AND coalesce(a.backend_type, '') <> 'autovacuum worker' AND l.relation {tables}
        GROUP BY 1""")
    )


def _minus(column: PgColumn, cursor: Json, stream: Stream) -> Json:
    try:
        lower = Decimal(str(cursor)) - Decimal(str(stream.lookback))
    except InvalidOperation:
        lower = None
    if lower is None or column.kind not in (*INTEGERS, "numeric", "float4", "float8"):
        raise Rejected(
            f'lookback needs a time or a number, and "{column.name}" is neither',
            where=f"stream {stream.name}", fix="remove lookback",
        )  # fmt: skip
    return int(lower) if column.kind in INTEGERS else str(lower)


def _has_rows(
    session: Session, relation: Relation, stream: Stream, cursor: Json, bounds: Bounds
) -> bool:
    if bounds.hi is None or bounds.hi == cursor:
        return False
    new = window_sql(relation.column(stream.cursor or ""), cursor, bounds.hi)
    (found,) = session.row(
        f"SELECT EXISTS (SELECT 1 FROM {relation.sql} WHERE {new} AND {where_sql(stream)})"
    )
    return bool(found)


# ---- conditions, shared with the reader


def where_sql(stream: Stream) -> str:
    """The stream's own condition; it may end in a comment."""
    return f"(\n{bind(stream.where, stream.vars)}\n)" if stream.where else "true"


def window_sql(column: PgColumn, lo: Json, hi: Json) -> str:
    """(lo, hi], or everything up to `hi` and without a value, where nothing was read before.

    Shape: without `hi` nothing, because nothing was there when the window was planned.
    """
    if hi is None:
        return "false"
    conditions = []
    if isinstance(lo, dict):
        conditions.append(f"{column.order_sql} >= {column.value_sql(lo['value'])}")
    elif lo is not None:
        conditions.append(f"{column.order_sql} > {column.value_sql(lo)}")
    below = f"{column.order_sql} <= {column.value_sql(hi)}"
    conditions.append(below if lo is not None else f"({below} OR {column.order_sql} IS NULL)")
    return " AND ".join(conditions)


def range_sql(column: PgColumn, part: Any) -> str:
    """One slice's part of the key: open below for the first, above for the last."""
    conditions = []
    if part["from"] is not None:
        conditions.append(f"{column.order_sql} >= {column.value_sql(part['from'])}")
    if part["to"] is not None:
        conditions.append(f"{column.order_sql} < {column.value_sql(part['to'])}")
    condition = " AND ".join(conditions) or "true"
    return f"({condition} OR {column.order_sql} IS NULL)" if part["from"] is None else condition


# ---- slices


def _ranges(
    session: Session, relation: Relation, stream: Stream
) -> tuple[list[Json], tuple[str, ...]]:
    """Parts of the key that together hold every row, NULL and what comes later included."""
    by = stream.parallel_by or (relation.order[0].name if relation.order else None)
    if stream.slices <= 1:
        return [None], ()
    if by is None:
        return [None], ("one slice: parallel needs `by`, or a primary key",)
    column = relation.column(by)
    if column.kind not in ORDERED:
        return [None], (f"one slice: {by} has no order to be cut by",)
    cuts = _cuts(session, relation, stream, column)
    edges: list[Json] = [None, *cuts, None]
    ranges = [{"by": by, "from": lower, "to": upper} for lower, upper in pairwise(edges)]
    if len(ranges) == 1:
        return [None], (f"one slice: {by} has too few values to be cut",)
    return list(ranges), (f"{len(ranges)} slices by {by}",)


def _cuts(session: Session, relation: Relation, stream: Stream, column: PgColumn) -> list[str]:
    count = stream.slices
    name = column.order_sql
    if column.kind in INTEGERS:
        low, high = session.row(f"SELECT min({name})::int8, max({name})::int8 FROM {relation.sql}")
        if low is None:
            return []
        cuts = {low + (high - low) * i // count for i in range(1, count)}
        return [str(cut) for cut in sorted(cuts) if cut > low]
    shares = ", ".join(f"{i}.0 / {count}" for i in range(1, count))
    sample = f"FROM {relation.sql}"
    if relation.kind in ("table", "materialized view") and relation.rows_estimate > _SAMPLE_ROWS:
        percent = max(0.01, min(100.0, 100.0 * _SAMPLE_ROWS / relation.rows_estimate))
        sample += f" TABLESAMPLE SYSTEM ({percent:.4f}) REPEATABLE (0)"
    found = session.rows(f"""
        SELECT text FROM (SELECT DISTINCT cut::text AS text, cut FROM unnest((
            SELECT percentile_disc(ARRAY[{shares}]::float8[]) WITHIN GROUP (ORDER BY {name})
            {sample} WHERE {quote_not_null(column)})) AS cut) AS cuts ORDER BY cut""")
    return [row[0] for row in found]
