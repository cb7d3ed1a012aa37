"""What a Postgres database has: tables, views, columns, keys; and what a stream reads of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from penstock.engine import RESERVED, quote
from penstock.errors import Rejected
from penstock.model import Field
from penstock.pipeline import Stream
from penstock.ports import Dataset
from penstock.sources.postgres_session import Session
from penstock.sources.postgres_types import INTEGERS, ORDERED, PgColumn, bind, pg_literal

KINDS = {
    "r": "table", "p": "table", "f": "foreign table", "v": "view", "m": "materialized view",
}  # fmt: skip
OWN_SCHEMAS = (
    "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast|^pg_temp'"
)
_LIKELY = ("updated_at", "modified_at", "last_modified", "last_updated", "changed_at", "updated_on",
           "modified_on", "updated", "modified", "last_update", "created_at", "inserted_at",
           "created_on", "created")  # fmt: skip
_SMALL_ROWS, _ROW_BYTES = 100_000, 100
_IN_ORDER = 0.9

_TYPES = """
WITH RECURSIVE resolved(oid, base, typmod) AS (
    SELECT oid, oid, -1 FROM pg_type WHERE typtype <> 'd'
    UNION ALL
    SELECT d.oid, r.base, CASE WHEN d.typtypmod >= 0 THEN d.typtypmod ELSE r.typmod END
    FROM pg_type d JOIN resolved r ON d.typbasetype = r.oid WHERE d.typtype = 'd'
), types AS (
    SELECT r.oid, r.typmod,
        CASE WHEN b.typcategory = 'A' THEN 'array' WHEN b.typtype = 'c' OR b.oid = 2249
            THEN 'composite' WHEN n.nspname = 'pg_catalog' THEN b.typname::text
            ELSE 'other' END AS kind,
        format('%I.%I', n.nspname, b.typname) AS type_sql
    FROM resolved r JOIN pg_type b ON b.oid = r.base JOIN pg_namespace n ON n.oid = b.typnamespace
)
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A stream's rows as SQL, and what is known about them.

    Shape: `columns` are all it has, `read` those that may leave the source; `oid` is None for a
    query; `rows_estimate` is -1 where nobody counted.
    """

    sql: str
    name: str
    columns: tuple[PgColumn, ...]
    read: tuple[PgColumn, ...]
    primary_key: tuple[str, ...] = ()
    oid: int | None = None
    kind: str = "query"
    rows_estimate: int = -1

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(column.field for column in self.read)

    def column(self, name: str) -> PgColumn:
        return next(column for column in self.columns if column.name == name)

    @property
    def order(self) -> tuple[PgColumn, ...]:
        """The primary key, if it can put rows in a total order without leaving the source."""
        key = tuple(column for column in self.read if column.name in self.primary_key)
        if len(key) < len(self.primary_key) or any(column.kind not in ORDERED for column in key):
            return ()
        return tuple(self.column(name) for name in self.primary_key)


def relation_of(session: Session, stream: Stream, zone: str | None) -> Relation:
    """What the stream reads.

    Raises: Rejected if it, or a column that the stream names, is not there, or cannot be read.
    """
    found = _from_query(session, stream) if stream.query else _from_table(session, stream)
    columns = tuple(replace(column, zone=zone) for column in found.columns)
    _refuse_names(found.name, columns)
    where = f"stream {stream.name}, {found.name}"
    names = [column.name for column in columns]
    wanted = (*stream.include, *stream.exclude, *stream.primary_key)
    for name in (*wanted, *(n for n in (stream.cursor, stream.parallel_by) if n)):
        if name not in names:
            raise Rejected(
                f'there is no column "{name}"', where=where, why=f"its columns: {', '.join(names)}",
                fix=did_you_mean(name, names),
            )  # fmt: skip
    read = tuple(
        column
        for column in columns
        if (not stream.include or column.name in stream.include)
        and column.name not in stream.exclude
    )
    if not read:
        raise Rejected("there are no columns to read", where=where, fix="leave the stream out")
    if stream.cursor and stream.cursor not in [column.name for column in read]:
        raise Rejected(
            f'the cursor "{stream.cursor}" is not read', where=where,
            fix=f"take {stream.cursor} out of exclude, or into include",
        )  # fmt: skip
    return replace(found, columns=columns, read=read)


def dataset_of(relation: Relation) -> Dataset:
    return Dataset(
        name=relation.name,
        fields=relation.fields,
        primary_key=relation.primary_key,
        cursors=_likely_cursors(relation.read, relation.primary_key),
        rows_estimate=relation.rows_estimate if relation.rows_estimate >= 0 else None,
        kind=relation.kind,
    )


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The hint for a name that is not there."""
    folded = {other.lower(): other for other in names}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f"did you mean {folded[near[0]]}?" if near else "penstock discover lists what is there"


def _refuse_names(relation: str, columns: Sequence[PgColumn]) -> None:
    """Why: raw files and warehouses do not tell names apart by case."""
    seen: dict[str, str] = {}
    for column in columns:
        if column.name.startswith(RESERVED):
            raise Rejected(
                f'the column "{column.name}" has a reserved name', where=relation,
                why=f"names that start with {RESERVED} are Penstock's own",
                fix="read it through a query that renames it",
            )  # fmt: skip
        other = seen.setdefault(column.name.lower(), column.name)
        if other is not column.name:
            raise Rejected(
                f'the columns "{other}" and "{column.name}" have one name', where=relation,
                why="warehouses do not tell names apart by case",
                fix="read it through a query that renames one of them",
            )  # fmt: skip


# ---- tables


def _from_table(session: Session, stream: Stream) -> Relation:
    asked = pg_literal(stream.table or "")
    found = session.rows(f"""
        SELECT c.oid::bigint, format('%I.%I', n.nspname, c.relname), n.nspname || '.' || c.relname,
            c.relkind::text, CASE WHEN c.relkind = 'v' THEN -1 ELSE c.reltuples::bigint END
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
            {asked} IN (n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname))
            OR pg_table_is_visible(c.oid) AND {asked} IN (c.relname, format('%I', c.relname)))
        ORDER BY 1""")
    if not found:
        raise _no_table(session, stream)
    if len(found) > 1:
        raise Rejected(
            f"{stream.table} could be several tables", where=f"stream {stream.name}",
            why=", ".join(str(row[1]) for row in found), fix=f"table: '{found[0][1]}'",
        )  # fmt: skip
    oid, sql, name, relkind, estimate = found[0]
    columns = tuple(
        PgColumn(name, kind, type_sql, typmod, nullable)
        for name, kind, type_sql, typmod, nullable in session.rows(f"""{_TYPES}
            SELECT a.attname::text, t.kind, t.type_sql,
                CASE WHEN a.atttypmod >= 0 THEN a.atttypmod ELSE t.typmod END, NOT a.attnotnull
            FROM pg_attribute a JOIN types t ON t.oid = a.atttypid
            WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""")
    )
    key = _keys(session, f"i.indrelid = {oid}").get(oid, ())
    if relkind == "p" or estimate < 0:
        estimate = _estimate(session, oid)
    return Relation(sql, name, columns, columns, key, oid, KINDS[relkind], estimate)


def _estimate(session: Session, oid: int) -> int:
    """Rows of a partitioned or never analysed table, by what its parts say, or else their size."""
    (rows,) = session.row(f"""
        SELECT sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples
            ELSE pg_relation_size(c.oid) / {_ROW_BYTES} END)::bigint
        FROM pg_class c WHERE c.relkind = 'r'
            AND (c.oid = {oid} OR c.oid IN (SELECT relid FROM pg_partition_tree({oid})))""")
    return -1 if rows is None else int(rows)


def _keys(session: Session, condition: str) -> dict[int, tuple[str, ...]]:
    """Primary keys by table, columns in key order."""
    keys: dict[int, tuple[str, ...]] = {}
    for table, name in session.rows(f"""
        SELECT i.indrelid::bigint, a.attname::text
        FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indisprimary AND {condition} ORDER BY i.indrelid, k.place"""):
        keys[table] = (*keys.get(table, ()), name)
    return keys


def _no_table(session: Session, stream: Stream) -> Rejected:
    names = [
        row[0]
        for row in session.rows(f"""
        SELECT n.nspname || '.' || c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {OWN_SCHEMAS}""")
    ]
    asked = stream.table or ""
    plain = {name.partition(".")[2]: name for name in names}
    candidates = [*names, *plain] if "." not in asked else names
    return Rejected(
        f"there is no table {asked}", where=f"stream {stream.name}, {session.where}",
        fix=did_you_mean(asked, candidates),
    )  # fmt: skip


# ---- queries


def _from_query(session: Session, stream: Stream) -> Relation:
    sql = f"({_query_text(stream)}\n) AS penstock_query"
    schema = session.schema(f"SELECT * FROM {sql}")
    typmods = []
    names = []
    for i in range(schema.n_children):
        child = schema.child(i)
        names.append(child.name)
        metadata = dict(child.metadata.items()) if child.metadata else {}
        typmods.append(int(metadata.get(b"POSTGRESQL:typmod", b"-1")))
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise Rejected(
            f'the query has two columns "{doubled}"', where=f"stream {stream.name}",
            fix=f'give one of them a name of its own: … AS "{doubled}_2"',
        )  # fmt: skip
    return Relation(sql, "query", columns := _typed(session, sql, names, typmods), columns)


def _query_text(stream: Stream) -> str:
    text = bind(stream.query or "", stream.vars)
    return re.sub(r"[;\s]+$", "", text)


def _typed(
    session: Session, sql: str, names: Sequence[str], typmods: Sequence[int]
) -> tuple[PgColumn, ...]:
    """Why: an outer join that never matches makes one row of NULLs, whose types stay."""
    if not names:
        return ()
    oids = ", ".join(f"pg_typeof({quote(name)})::oid" for name in names)
    found = session.rows(f"""{_TYPES}
        SELECT t.kind, t.type_sql, t.typmod
        FROM unnest((SELECT ARRAY[{oids}] FROM (SELECT) AS one LEFT JOIN {sql} ON false))
            WITH ORDINALITY AS q(oid, place)
        JOIN types t ON t.oid = q.oid ORDER BY q.place""")
    return tuple(
        PgColumn(name, kind, type_sql, _query_typmod(kind, known, own))
        for name, known, (kind, type_sql, own) in zip(names, typmods, found, strict=True)
    )


def _query_typmod(kind: str, known: int, domain: int) -> int:
    """A query tells the precision of a numeric, of a timestamp only that of its domain."""
    if kind in ("timestamp", "timestamptz"):
        return domain if domain >= 0 else -2
    return known if known >= 0 else domain


# ---- the order of reading


def cheap_order(session: Session, relation: Relation) -> tuple[tuple[PgColumn, ...], str]:
    """The columns to read a whole table in order by, or none; and why.

    Why: an order lets a reader go on where another died, but an index that does not follow the
    heap costs a random read per row.
    """
    if not relation.order:
        return (), "read in no order: there is no primary key of the database's own to order by"
    key = ", ".join(column.name for column in relation.order)
    if 0 <= relation.rows_estimate < _SMALL_ROWS:
        return relation.order, f"read in the order of {key}, so that it can go on where it stopped"
    leading = relation.order[0]
    if leading.kind in ("text", "varchar", "bpchar"):
        return (), f"read in no order: sorting by {key} (text) would cost more than starting over"
    (correlation,) = session.row(f"""
        SELECT max(s.correlation)::float8 FROM pg_stats s
        JOIN pg_namespace n ON n.nspname = s.schemaname
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
        WHERE c.oid = {relation.oid} AND NOT s.inherited
            AND s.attname = {pg_literal(leading.name)}""")
    if correlation is not None and correlation > _IN_ORDER:
        return relation.order, f"read in the order of {key}, so that it can go on where it stopped"
    return (), f"read in no order: rows do not lie in the order of {key}"


# ---- discover


def discover(session: Session, zone: str | None) -> list[Dataset]:
    """Every table and view that is not the server's own."""
    relations = session.rows(f"""
        SELECT c.oid::bigint, n.nspname || '.' || c.relname, c.relkind::text, c.reltuples::bigint
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND {OWN_SCHEMAS}
        ORDER BY 2""")
    columns: dict[int, list[PgColumn]] = {}
    for oid, name, kind, type_sql, typmod, nullable in session.rows(f"""{_TYPES}
        SELECT a.attrelid::bigint, a.attname::text, t.kind, t.type_sql,
            CASE WHEN a.atttypmod >= 0 THEN a.atttypmod ELSE t.typmod END, NOT a.attnotnull
        FROM pg_attribute a JOIN types t ON t.oid = a.atttypid
        JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND {OWN_SCHEMAS} ORDER BY a.attrelid, a.attnum"""):
        column = PgColumn(name, kind, type_sql, typmod, nullable, zone)
        columns.setdefault(oid, []).append(column)
    keys = _keys(session, "true")
    indexed = _indexed(session)
    return [
        Dataset(
            name=name,
            fields=tuple(column.field for column in columns.get(oid, [])),
            primary_key=keys.get(oid, ()),
            cursors=_likely_cursors(columns.get(oid, []), keys.get(oid, ()), indexed.get(oid, ())),
            rows_estimate=rows if rows >= 0 and relkind not in "vf" else None,
            kind=KINDS[relkind],
        )
        for oid, name, relkind, rows in relations
    ]


def _indexed(session: Session) -> dict[int, tuple[str, ...]]:
    """Leading columns of the indexes, by table."""
    found: dict[int, tuple[str, ...]] = {}
    for table, name in session.rows("""
        SELECT i.indrelid::bigint, a.attname::text FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        ORDER BY 1, 2"""):
        found[table] = (*found.get(table, ()), name)
    return found


def _likely_cursors(
    columns: Sequence[PgColumn], primary_key: Sequence[str], indexed: Sequence[str] = ()
) -> tuple[str, ...]:
    """Columns that say when a row changed, likeliest names and indexed ones first; a serial key."""
    times = [
        column
        for column in columns
        if column.kind in ("timestamp", "timestamptz") and column.name.lower() in _LIKELY
    ]
    times.sort(key=lambda c: (_LIKELY.index(c.name.lower()), c.name not in indexed))
    names = [column.name for column in times]
    if len(primary_key) == 1:
        names += [c.name for c in columns if c.name == primary_key[0] and c.kind in INTEGERS]
    return tuple(names)
