"""What every warehouse does with tables that change, that are others', and with damaged files.

Subclass `WarehouseTableContract` beside `WarehouseContract`, whose fixtures it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import Rejected, Transient
from penstock.model import Counts, Staged
from penstock.ports import Warehouse
from penstock.testing.staged import COLUMNS, StagedFolder, plan, request, target
from penstock.testing.warehouses import naive, table

WIDENINGS: Mapping[tuple[str, str], tuple[Any, Any, list[Any]]] = {
    ("smallint", "integer"): (1, 70_000, [1, 70_000]),
    ("integer", "bigint"): (1, 2**40, [1, 2**40]),
    ("bigint", "decimal(21,2)"): (2**60, Decimal("0.25"), [Decimal(2**60), Decimal("0.25")]),
    ("decimal(12,2)", "decimal(20,4)"): ("0.10", "1.2345", [Decimal("0.10"), Decimal("1.2345")]),
    ("integer", "double"): (3, 0.5, [3.0, 0.5]),
    ("bigint", "varchar"): (3, "x", ["3", "x"]),
    ("decimal(12,2)", "varchar"): ("1.50", "x", ["1.50", "x"]),
    ("date", "varchar"): ("2026-01-02", "x", ["2026-01-02", "x"]),
    ("boolean", "varchar"): (True, "x", ["true", "x"]),
    ("date", "timestamp"): (
        "2026-01-02", "2026-01-02 03:04:05", [naive("2026-01-02"), naive("2026-01-02T03:04:05")],
    ),
    ("varchar(5)", "varchar(50)"): ("a", "b" * 50, ["a", "b" * 50]),
    ("json", "varchar"): ("[1]", "x", ["[1]", "x"]),
}  # fmt: skip


class WarehouseTableContract:
    """The tests of a warehouse whose tables live."""

    # ---- contracts that move on

    @pytest.mark.parametrize("late", [False, True], ids=["in time", "older one later"])
    def test_a_column_widens_and_keeps_every_value(
        self, warehouse: Warehouse, staged: StagedFolder, late: bool
    ) -> None:
        for at, (types, (old, new, expected)) in enumerate(WIDENINGS.items()):
            to = target(f"t{at}")
            chunks = [
                staged.chunk([(n, value)], {"id": "bigint", "v": kind}, run=n, version=n)
                for n, (value, kind) in enumerate(zip((old, new), types, strict=True), start=1)
            ]
            for chunk in reversed(chunks) if late else chunks:
                warehouse.load(request(to, chunk))
            assert [value for _, value in table(warehouse, to, "id", "v")] == expected, types

    def test_two_contracts_in_one_load_are_each_cast_by_themselves(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        """Read as one, bigint and double would be unified first, and 1 be "1.0"."""
        to = target()
        chunks = [
            staged.chunk([(n, value)], {"id": "bigint", "v": kind}, number=n, version=n)
            for n, (value, kind) in enumerate([(1, "bigint"), (1.5, "double"), ("x", "varchar")])
        ]
        warehouse.load(request(to, *chunks))
        assert table(warehouse, to, "id", "v") == [(0, "1"), (1, "1.5"), (2, "x")]

    def test_new_columns_are_added_and_gone_ones_are_null(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="merge")
        more = {"id": "bigint", "more": "date"}
        warehouse.load(request(to, staged.chunk([(1, "a")], merge=True)))
        warehouse.load(
            request(to, staged.chunk([(2, date(2026, 1, 1))], more, run=2, version=2, merge=True))
        )
        warehouse.load(request(to, staged.chunk([(3, "c")], run=3, merge=True)))
        assert table(warehouse, to, "id", "note", "more") == [
            (1, "a", None), (2, None, date(2026, 1, 1)), (3, "c", None),
        ]  # fmt: skip

    def test_a_table_may_go_over_from_append_to_merge(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        warehouse.load(request(target(), staged.chunk([(1, "a"), (1, "b"), (2, "a")])))
        merged = target(write="merge")
        warehouse.load(request(merged, staged.chunk([(1, "c")], run=2, merge=True)))
        warehouse.load(request(merged, staged.chunk([(2, "d")], generation=1, merge=True)))
        assert table(warehouse, merged, *COLUMNS) == [(1, "c"), (2, "d")]

    def test_a_column_that_a_user_added_stays(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="merge")
        warehouse.load(request(to, staged.chunk([(1, "a")], merge=True)))
        warehouse.query("ALTER TABLE analytics.orders ADD COLUMN mine integer DEFAULT 7")
        warehouse.load(request(to, staged.chunk([(2, "b")], run=2, merge=True)))
        assert table(warehouse, to, "id", "mine") == [(1, 7), (2, 7)]

    def test_a_view_over_the_table_goes_on(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        warehouse.load(request(to, staged.chunk([(1, "a")])))
        warehouse.query("CREATE VIEW analytics.notes AS SELECT id, note FROM analytics.orders")
        more = {**COLUMNS, "more": "date"}
        warehouse.load(request(to, staged.chunk([(2, "b", None)], more, run=2), swap=plan(2)))
        assert warehouse.query("SELECT * FROM analytics.notes").rows == ((2, "b"),)

    def test_an_index_on_the_table_goes_on(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="merge")
        warehouse.load(request(to, staged.chunk([(1, "a"), (2, "a")], merge=True)))
        warehouse.query("CREATE INDEX mine ON analytics.orders (note)")
        wide = {**COLUMNS, "more": "date"}
        rows = [(1, "b", None), (3, "b", None)]
        warehouse.load(request(to, staged.chunk(rows, wide, run=2, merge=True)))
        assert table(warehouse, to, *COLUMNS) == [(1, "b"), (2, "a"), (3, "b")]

    def test_moments_without_end_and_before_christ_stay_so(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        columns = {"id": "bigint", "d": "date", "t": "timestamp", "z": "timestamptz"}
        rows = [
            (1, "infinity", "infinity", "-infinity"),
            (2, "0044-03-15 (BC)", "2026-01-02 03:04:05.000006", None),
            (3, "2026-01-02", None, "infinity"),
        ]
        for write in ("append", "merge"):
            to = target(write, write)
            merge = write == "merge"
            warehouse.load(request(to, staged.chunk(rows, columns, merge=merge)))
            found = warehouse.query(
                "SELECT id, CAST(d AS varchar), CAST(t AS varchar), CAST(z AS varchar) "
                f"FROM analytics.{write} ORDER BY id"
            ).rows
            plain = [tuple(str(v).replace("(", "").replace(")", "") for v in row) for row in found]
            assert plain == [
                ("1", "infinity", "infinity", "-infinity"),
                ("2", "0044-03-15 BC", "2026-01-02 03:04:05.000006", "None"),
                ("3", "2026-01-02", "None", "infinity"),
            ]

    # ---- what is refused

    @pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
    def test_what_is_not_penstocks_is_left_alone(
        self, warehouse: Warehouse, staged: StagedFolder, kind: str
    ) -> None:
        warehouse.query("CREATE SCHEMA analytics")
        warehouse.query(f"CREATE {kind} analytics.orders AS SELECT 1 AS id")
        with pytest.raises(Rejected) as caught:
            warehouse.load(request(target(), staged.chunk([(2, "a")])))
        assert "load.table" in caught.value.fix
        assert warehouse.query("SELECT * FROM analytics.orders").rows == ((1,),)
        assert warehouse.ledger() == []

    def test_a_file_that_lost_rows_is_refused_with_its_chunk(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        whole = staged.chunk([(0, "a")])
        short = staged.chunk([(1, "a"), (2, "a")], number=1)
        short = replace(short, commit=replace(short.commit, counts=Counts(3, 3)))
        with pytest.raises(Rejected, match="hold 2 rows, its commit record says 3") as caught:
            warehouse.load(request(target(), whole, short))
        assert str(short.commit.chunk) in caught.value.where
        assert warehouse.ledger() == []
        assert warehouse.count(target()) == {"": 0}

    def test_a_damaged_file_is_rejected_and_a_missing_one_is_tried_again(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        chunk = staged.chunk([(1, "a")])
        path = Path(chunk.paths[0])
        path.write_bytes(b"not parquet at all, but long enough to be asked")
        with pytest.raises(Rejected, match="damaged"):
            warehouse.load(request(target(), chunk))
        path.unlink()
        with pytest.raises(Transient, match="staged file"):
            warehouse.load(request(target(), chunk))
        assert warehouse.ledger() == []

    def test_a_key_that_is_no_column_is_refused(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="merge", primary_key=("nr",))
        with pytest.raises(Rejected, match='no column "nr"'):
            warehouse.load(request(to, staged.chunk([(1, "a")], merge=True)))

    def test_a_rule_of_the_users_own_table_refuses_the_load_whole(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        warehouse.load(request(to, staged.chunk([(1, "a")])))
        warehouse.query("CREATE UNIQUE INDEX mine ON analytics.orders (id)")
        twice = [staged.chunk([(n, "b")], run=2, number=n) for n in (2, 1)]
        with pytest.raises(Rejected):
            warehouse.load(request(to, *twice))
        assert table(warehouse, to, *COLUMNS) == [(1, "a")]

    def test_empty_files_and_no_files_are_chunks_without_rows(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        for number, write in enumerate(("append", "merge")):
            to = target(write, write)  # type: ignore[arg-type]
            empty = _emptied(staged, staged.chunk([(1, "a")], merge=write == "merge"))
            receipts = warehouse.load(request(to, empty, staged.chunk([], number=number + 1)))
            assert [(r.status, r.rows) for r in receipts] == [("loaded", 0)] * 2
            assert warehouse.count(to) == {"": 0}


def _emptied(staged: StagedFolder, chunk: Staged) -> Staged:
    """The chunk with a file that holds the same columns and no row."""
    path = Path(chunk.paths[0])
    empty = path.with_name(f"empty-{path.name}")
    staged.connection.execute(
        f"COPY (FROM read_parquet('{path}', hive_partitioning = false) LIMIT 0) "
        f"TO '{empty}' (FORMAT parquet)"
    )
    return replace(chunk, commit=replace(chunk.commit, counts=Counts()), paths=(str(empty),))
