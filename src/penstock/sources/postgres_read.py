"""Reading a slice: one Arrow batch of the server's answer becomes one Parquet file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
            batch = batches.next()
            while True:
                count += batch.length if batch else 0
                piece = writer.write(batches.schema, batch)
                ended, batch = batch is None, None  # released before the next one is fetched
                batch = None if ended else batches.next()
                yield replace(
                    piece,
                    fields=relation.fields,
                    position={"after": piece.position, "rows": count} if order else None,
                    last=batch is None,
                )
                if batch is None:
                    return
    finally:
        writer.close()


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
        self._names = [c.name for c in self._columns] + [_HIDDEN + c.name for c in hidden]
        self._batch = f"batch AS batch({', '.join(quote(name) for name in self._names)})"
        self._moments = frozenset(
            column.name
            for column in (*self._columns, *self._order, *filter(None, [self._cursor]))
            if column.kind in ("timestamp", "timestamptz")
        )
        self._folder = folder
        self._connection = engine.connect([folder])

    def close(self) -> None:
        self._connection.close()

    def write(self, schema: Any, batch: Any) -> Piece:
        """The batch (None: no rows) as a file; `position` is its last row's order columns."""
        rows = batch.length if batch else 0
        arrays = [batch] if batch else []
        path = self._folder / f"{uuid.uuid4().hex}.parquet"
        with self._given(schema, arrays):
            strange = self._copy(path)
        if strange:
            with self._given(schema, arrays, strange & self._moments):
                self._copy(path, strange)
        after: Json = []
        greatest: Json = None
        if rows and (self._order or self._cursor):
            with self._given(schema, arrays, self._moments):
                after, greatest = self._after(rows), self._greatest()
        return Piece(path, rows, (), after, last=False, cursor_max=greatest)

    @contextmanager
    def _given(
        self, schema: Any, arrays: Sequence[Any], counted: frozenset[str] = frozenset()
    ) -> Iterator[None]:
        """DuckDB has the batch; the `counted` timestamps as their microseconds.

        Why: DuckDB cannot print every timestamp that Postgres has.
        """
        import nanoarrow
        from nanoarrow.c_array import CArray

        children = [
            nanoarrow.c_schema(nanoarrow.int64()).modify(name=child.name)
            if name in counted
            else child
            for name, child in zip(self._names, schema.children, strict=True)
        ]
        given = schema.modify(children=children)
        same = [CArray(array, array._addr(), given) for array in arrays]  # noqa: SLF001
        self._connection.register("batch", _Batch(given, same))
        try:
            yield
        finally:
            self._connection.unregister("batch")

    def _copy(self, path: Path, strange: frozenset[str] = frozenset()) -> frozenset[str]:
        """The file stands, its `strange` columns as text; gives those that ought to be."""
        import duckdb

        columns = ", ".join(
            column.spell_sql if column.name in strange else column.keep_sql
            for column in self._columns
        )
        try:
            answer = self._connection.execute(
                f"COPY (SELECT {columns} FROM {self._batch}) TO {literal(str(path.resolve()))} "
                "(FORMAT parquet, COMPRESSION lz4, DICTIONARY_SIZE_LIMIT 1, RETURN_STATS)"
            ).fetchone()
        except duckdb.ConversionException:
            if strange:
                raise
            return self._moments & {column.name for column in self._columns}
        statistics: Mapping[str, Mapping[str, str]] = answer[4] if answer else {}
        return frozenset(
            column.name
            for column in self._columns
            if column.is_strange(statistics.get(quote(column.name), {}))
        )

    def _after(self, rows: int) -> Json:
        if not self._order:
            return []
        columns = ", ".join(column.position_sql for column in self._order)
        found = self._connection.execute(
            f"SELECT {columns} FROM {self._batch} LIMIT 1 OFFSET {rows - 1}"
        ).fetchone()
        return list(found or ())

    def _greatest(self) -> Json:
        if self._cursor is None:
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
