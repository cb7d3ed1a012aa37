"""Reading a slice: one Arrow batch of the server's answer becomes one Parquet file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock import engine
from penstock.engine import literal, quote
from penstock.model import Json, Slice
from penstock.pipeline import Stream
from penstock.ports import Piece
from penstock.sources.postgres_catalog import Relation
from penstock.sources.postgres_plan import range_sql, where_sql, window_sql
from penstock.sources.postgres_session import Session
from penstock.sources.postgres_types import INTEGERS, TIMES, PgColumn

_ANSWER, _HIDDEN = "_penstock_", "_penstock_order_"


class _Batch:
    """One Arrow batch that DuckDB may ask for more than once."""

    def __init__(self, schema: Any, arrays: Sequence[Any]) -> None:
        self._schema, self._arrays = schema, arrays

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        from nanoarrow.c_array_stream import CArrayStream

        stream = CArrayStream.from_c_arrays(list(self._arrays), self._schema, move=False)
        return stream.__arrow_c_stream__(requested_schema)


def read(
    session: Session, relation: Relation, stream: Stream, part: Slice, position: Json, folder: Path
) -> Iterator[Piece]:
    """The slice's pieces after `position`.

    Why: the next batch is fetched before a piece is given, because a piece must know whether it
    is the last; its own batch is written and gone by then, so that one batch is held at a time.
    """
    order = tuple(relation.column(name) for name in part.spec["order"])
    hidden = tuple(column for column in order if column.kind == "timestamp" and column.zone)
    if stream.cursor:
        cursor = relation.column(stream.cursor)
        if cursor.kind == "timestamp" and cursor.zone and cursor not in hidden:
            hidden = (*hidden, cursor)
    writer = _Writer(relation, stream, order, hidden, folder)
    count = position["rows"] if position else 0
    try:
        with session.batches(select_sql(relation, stream, part, position, hidden)) as batches:
            schema = batches.get_schema()
            batch = _next(session, batches)
            while True:
                rows = 0 if batch is None else batch.length
                count += rows
                path = folder / f"{uuid.uuid4().hex}.parquet"
                after, cursor_max = writer.write(
                    schema, [] if batch is None else [batch], rows, path
                )
                batch = None if batch is None else _next(session, batches)
                yield Piece(
                    path=path,
                    rows=rows,
                    fields=relation.fields,
                    position={"after": after, "rows": count} if order else None,
                    last=batch is None,
                    cursor_max=cursor_max,
                )
                if batch is None:
                    return
    finally:
        writer.close()


def _next(session: Session, batches: Any) -> Any:
    with session.reported():
        batch = next(batches, None)
        while batch is not None and batch.length == 0:
            batch = next(batches, None)
        return batch


def select_sql(
    relation: Relation,
    stream: Stream,
    part: Slice,
    position: Json,
    hidden: Sequence[PgColumn] = (),
) -> str:
    """The query for what is left of the slice.

    Why: every column is named, so that an excluded one stays where it is; and named by its place,
    because ORDER BY would take a converted column of the same name for the column itself.
    """
    spec = part.spec
    order = [relation.column(name) for name in spec["order"]]
    conditions = [where_sql(stream)]
    if stream.cursor:
        conditions.append(window_sql(relation.column(stream.cursor), spec["lo"], spec["hi"]))
    if spec["range"]:
        conditions.append(range_sql(relation.column(spec["range"]["by"]), spec["range"]))
    if position and position["after"]:
        names = ", ".join(column.order_sql for column in order)
        values = ", ".join(
            column.value_sql(text) for column, text in zip(order, position["after"], strict=True)
        )
        conditions.append(f"({names}) > ({values})")
    columns = [column.select_sql for column in relation.read] + [quote(c.name) for c in hidden]
    named = ", ".join(f"{column} AS {quote(_ANSWER + str(i))}" for i, column in enumerate(columns))
    sql = f"SELECT {named} FROM {relation.sql} WHERE {' AND '.join(conditions)}"
    if order:
        sql += " ORDER BY " + ", ".join(c.order_sql for c in order)
    if spec["limit"] is not None:
        sql += f" LIMIT {max(0, spec['limit'] - (position['rows'] if position else 0))}"
    return sql


class _Writer:
    """Writes batches as raw Parquet files, and knows their last row's place."""

    def __init__(
        self,
        relation: Relation,
        stream: Stream,
        order: Sequence[PgColumn],
        hidden: Sequence[PgColumn],
        folder: Path,
    ) -> None:
        self._columns = relation.read
        self._order = [_seen(column, hidden) for column in order]
        self._cursor: PgColumn | None = None
        if stream.cursor:
            cursor = _seen(relation.column(stream.cursor), hidden)
            if cursor.kind in TIMES | INTEGERS:
                self._cursor = cursor
        names = [column.name for column in self._columns] + [_HIDDEN + c.name for c in hidden]
        self._batch = f"batch AS batch({', '.join(quote(name) for name in names)})"
        self._connection = engine.connect([folder])

    def close(self) -> None:
        self._connection.close()

    def write(self, schema: Any, arrays: Sequence[Any], rows: int, path: Path) -> tuple[Json, Json]:
        """The file stands; gives the order columns of its last row, and its greatest cursor."""
        self._connection.register("batch", _Batch(schema, arrays))
        try:
            statistics = self._copy(path, frozenset())
            strange = frozenset(
                column.name
                for column in self._columns
                if column.is_strange(statistics.get(quote(column.name), {}))
            )
            if strange:
                self._copy(path, strange)
            return self._after(rows), self._greatest(rows)
        finally:
            self._connection.unregister("batch")

    def _copy(self, path: Path, strange: frozenset[str]) -> Mapping[str, Mapping[str, str]]:
        columns = ", ".join(
            column.spell_sql if column.name in strange else column.keep_sql
            for column in self._columns
        )
        answer = self._connection.execute(
            f"COPY (SELECT {columns} FROM {self._batch}) TO {literal(str(path.resolve()))} "
            "(FORMAT parquet, COMPRESSION lz4, RETURN_STATS)"
        ).fetchone()
        statistics: Mapping[str, Mapping[str, str]] = answer[4] if answer else {}
        return statistics

    def _after(self, rows: int) -> Json:
        if not self._order or not rows:
            return []
        columns = ", ".join(column.position_sql for column in self._order)
        found = self._connection.execute(
            f"SELECT {columns} FROM {self._batch} LIMIT 1 OFFSET {rows - 1}"
        ).fetchone()
        return list(found or ())

    def _greatest(self, rows: int) -> Json:
        if self._cursor is None or not rows:
            return None
        name = quote(self._cursor.name)
        found = self._connection.execute(
            f"SELECT {self._cursor.position_sql} FROM {self._batch} "
            f"WHERE {name} = (SELECT max({name}) FROM {self._batch}) LIMIT 1"
        ).fetchone()
        if not found:
            return None
        return int(found[0]) if self._cursor.kind in INTEGERS else found[0]


def _seen(column: PgColumn, hidden: Sequence[PgColumn]) -> PgColumn:
    """The column under the name by which its own, unconverted value is in the batch."""
    if column not in hidden:
        return column
    return PgColumn(_HIDDEN + column.name, column.kind, column.type_sql, column.typmod)
