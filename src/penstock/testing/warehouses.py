"""What every warehouse does. Subclass `WarehouseContract`, say how to open yours, run pytest."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError, Rejected
from penstock.model import Closing, Counts, Receipt, StreamKey, Target
from penstock.ports import Warehouse
from penstock.testing.staged import AT, COLUMNS, STREAM, StagedFolder, plan, request, run_id, target

MERGED = {"id": "bigint", "at": "timestamp", "note": "varchar"}


class WarehouseContract:
    """The tests of a warehouse; those of tables and faults stand beside it.

    Shape: `opener` is a fixture: each call gives a new warehouse object, not open, of one and the
    same warehouse, which is empty when a test begins.
    """

    @pytest.fixture
    def opener(self) -> Callable[[], Warehouse]:
        raise NotImplementedError("make a fixture `opener` that opens your warehouse")

    @pytest.fixture
    def warehouse(self, opener: Callable[[], Warehouse]) -> Iterator[Warehouse]:
        warehouse = opener()
        warehouse.open()
        warehouse.set_up("w-1")
        yield warehouse
        warehouse.close()

    @pytest.fixture
    def staged(self, tmp_path: Path) -> Iterator[StagedFolder]:
        import duckdb

        connection = duckdb.connect(config={"threads": 1})
        connection.execute("SET TimeZone = 'UTC'")
        yield StagedFolder(tmp_path / "staging", connection)
        connection.close()

    # ---- identity

    def test_an_identity_is_written_once(self, opener: Callable[[], Warehouse]) -> None:
        warehouse = opener()
        warehouse.open()
        assert warehouse.identity() is None
        warehouse.set_up("first")
        warehouse.set_up("second")
        warehouse.close()
        again = opener()
        again.open(read_only=True)
        assert again.identity() == "first"
        again.close()

    def test_it_closes_twice_and_opens_again(self, warehouse: Warehouse) -> None:
        warehouse.close()
        warehouse.close()
        warehouse.open()
        warehouse.open()
        assert warehouse.identity() == "w-1"

    def test_what_is_not_open_says_so(self, opener: Callable[[], Warehouse]) -> None:
        with pytest.raises(PenstockError, match="not open"):
            opener().ledger()

    # ---- rows

    def test_values_land_exactly(self, warehouse: Warehouse, staged: StagedFolder) -> None:
        columns = {
            "flag": "boolean", "small": "smallint", "whole": "integer", "big": "bigint",
            "money": "decimal(38,10)", "cents": "decimal(12,2)", "ratio": "double",
            "single": "real", "text": "varchar", "short": "varchar(20)", "document": "json",
            "bytes": "binary", "day": "date", "clock": "time", "naive": "timestamp",
            "moment": "timestamptz",
        }  # fmt: skip
        oslo = timezone(timedelta(hours=1))
        rows = [
            (
                True, -32768, 2**31 - 1, -(2**63),
                Decimal("-1234567890123456789012345678.0000000001"), Decimal("0.10"), 0.1, 1.5,
                "Ærlig\n\"x\" 'y' \\N ☃", "", '{"b": 1, "a": [2.50], "b": 2}', b"\x00\xff",
                date(1582, 10, 4), time(23, 59, 59, 999999), naive("1969-12-31T23:59:59.999999"),
                datetime(2024, 3, 31, 2, 30, 0, 1, oslo),
            ),
            (None,) * len(columns),
        ]  # fmt: skip
        to = target("kinds")
        warehouse.load(request(to, staged.chunk(rows, columns)))
        names = ", ".join(f'"{name}"' for name in columns)
        found = warehouse.query(f"SELECT {names} FROM analytics.kinds ORDER BY flag").rows
        assert sorted(found, key=lambda row: row[0] is None) == rows

    def test_columns_go_by_name_and_a_missing_one_is_null(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        both = {"id": "bigint", "note": "varchar", "extra": "integer"}
        first = staged.chunk([("a", 1)], {"note": "varchar", "id": "bigint"})
        second = staged.chunk([(2, "b", 3)], both, number=1, version=2)
        warehouse.load(request(to, first, second))
        assert table(warehouse, to, *both) == [(1, "a", None), (2, "b", 3)]

    def test_folders_named_like_columns_are_only_folders(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        columns = {"id": "bigint", "source": "varchar", "ingest_date": "varchar"}
        warehouse.load(request(to, staged.chunk([(1, "theirs", None)], columns)))
        assert table(warehouse, to, *columns) == [(1, "theirs", None)]

    def test_hostile_names_are_only_names(self, warehouse: Warehouse, staged: StagedFolder) -> None:
        to = Target(STREAM, 'sch"ema; --', "select 'x'; drop", "merge", ('k"e y',), "from")
        columns = {'k"e y': "bigint", "from": "integer", "$1": "varchar", "a'b": "varchar"}
        first = staged.chunk([(1, 1, "x", "y")], columns, merge=True)
        second = staged.chunk([(1, 2, "z", None)], columns, run=2, merge=True)
        warehouse.load(request(to, first))
        warehouse.load(request(to, second))
        quoted = f'"{to.schema.replace(chr(34), chr(34) * 2)}"."{to.table}"'
        found = warehouse.query(f'SELECT "k""e y", "from", "$1", "a\'b" FROM {quoted}')
        assert found.rows == ((1, 2, "z", None),)
        assert warehouse.count(to) == {"": 1}

    def test_a_run_without_rows_leaves_an_empty_table(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        (receipt,) = warehouse.load(request(to, staged.chunk([])))
        assert (receipt.status, receipt.rows) == ("loaded", 0)
        assert table(warehouse, to, *COLUMNS) == []

    def test_a_query_gives_at_most_its_limit(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        warehouse.load(request(target(), staged.chunk([(n, "x") for n in range(20)])))
        sql = "SELECT id, id AS id FROM analytics.orders ORDER BY id DESC; "
        answer = warehouse.query(sql, limit=2)
        assert answer.columns == ("id", "id") or answer.columns[0] == "id"
        assert answer.rows == ((19, 19), (18, 18))
        assert len(answer.types) == 2

    def test_a_wrong_query_is_refused(self, warehouse: Warehouse) -> None:
        with pytest.raises(Rejected, match="refused"):
            warehouse.query("SELECT * FROM nowhere")

    # ---- the ledger

    def test_the_ledger_stands_beside_the_rows(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        chunks = [staged.chunk([(n, "x")] * (n + 1), number=n) for n in range(3)]
        receipts = warehouse.load(request(to, *chunks, load_id="one"))
        ledger = warehouse.ledger(str(to))
        assert [(row.chunk, row.rows, row.load_id, row.loaded_at) for row in ledger] == [
            (r.chunk, r.rows, r.load_id, r.loaded_at) for r in receipts
        ]
        assert [receipt.inserted for receipt in receipts] == [1, 2, 3]
        assert warehouse.count(to, by_chunk=True) == {
            str(c.commit.chunk): c.commit.counts.good for c in chunks
        }
        assert warehouse.ledger("other.table") == []
        assert warehouse.ledger() == ledger
        assert warehouse.count(target("never"), by_chunk=True) == {}
        assert warehouse.count(target("never")) == {"": 0}

    def test_a_chunk_that_comes_again_is_received_once(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to, chunk = target(), staged.chunk([(1, "a"), (2, "b")])
        first = warehouse.load(request(to, chunk, load_id="one"))
        again = warehouse.load(request(to, chunk, chunk, load_id="two"))
        assert [receipt.load_id for receipt in again] == ["one"]
        assert known(again) == known(first)
        assert table(warehouse, to, *COLUMNS) == [(1, "a"), (2, "b")]

    def test_only_a_higher_generation_replaces_a_chunks_rows(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        other = staged.chunk([(9, "other")], number=1)
        first, second, third = (
            staged.chunk([(g, f"g{g}")] * (3 - g), generation=g) for g in range(3)
        )
        warehouse.load(request(to, other, second))
        assert [r.generation for r in warehouse.load(request(to, first))] == [1]
        assert table(warehouse, to, *COLUMNS) == [(1, "g1"), (1, "g1"), (9, "other")]
        warehouse.load(request(to, first, third, second))
        assert table(warehouse, to, *COLUMNS) == [(2, "g2"), (9, "other")]
        assert [row.generation for row in warehouse.ledger(str(to))] == [2, 0]

    def test_a_closed_run_is_refused_in_the_transaction(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        key = StreamKey("shop", "dev", "w", STREAM)
        closing = Closing(run_id(1), key, 1, Counts(1, 1), 1, 0, AT, 1)
        warehouse.load(request(to, staged.chunk([(1, "a")])))
        for _ in range(2):
            warehouse.close_run(closing, str(to))
        late = staged.chunk([(1, "b")], generation=1)
        open_run = staged.chunk([(2, "c")], run=2)
        receipts = warehouse.load(request(to, late, open_run, swap=plan(1)))
        assert [(r.status, r.rows) for r in receipts] == [("closed", 0), ("loaded", 1)]
        assert table(warehouse, to, *COLUMNS) == [(1, "a"), (2, "c")]
        other = request(target("other"), late)
        assert [receipt.status for receipt in warehouse.load(other)] == ["loaded"]

    def test_a_swap_of_a_closed_run_replaces_nothing(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="replace")
        warehouse.load(request(to, staged.chunk([(1, "a")])))
        closing = Closing(run_id(2), StreamKey("shop", "dev", "w", STREAM), 2, Counts(), 0, 0, AT)
        warehouse.close_run(closing, str(to))
        warehouse.load(request(to, staged.chunk([(2, "b")], run=2), swap=plan(2)))
        assert table(warehouse, to, *COLUMNS) == [(1, "a")]

    # ---- swaps

    def test_a_swap_replaces_what_came_before_and_nothing_later(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="replace")
        old, new, later = (staged.chunk([(n, f"run {n}")], run=n) for n in (1, 2, 3))
        empty = staged.chunk([], run=2, part=1)
        warehouse.load(request(to, old))
        warehouse.load(request(to, later))
        receipts = warehouse.load(request(to, new, empty, swap=plan(2)))
        assert [receipt.status for receipt in receipts] == ["loaded", "loaded"]
        assert table(warehouse, to, *COLUMNS) == [(2, "run 2"), (3, "run 3")]

    def test_rows_of_a_lower_seq_that_come_after_a_swap_are_superseded(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target()
        warehouse.load(request(to, staged.chunk([(3, "new")], run=3), swap=plan(3)))
        late = request(to, staged.chunk([(1, "late")], run=1))
        older = request(to, staged.chunk([(2, "older")], run=2), swap=plan(2))
        for asked in (late, older, late):
            (receipt,) = warehouse.load(asked)
            assert (receipt.status, receipt.rows) == ("superseded", 0)
        assert table(warehouse, to, *COLUMNS) == [(3, "new")]
        assert [(row.seq, row.status, row.rows) for row in warehouse.ledger(str(to))] == [
            (1, "superseded", 0), (2, "superseded", 0), (3, "loaded", 1),
        ]  # fmt: skip

    def test_a_swap_that_comes_again_takes_only_new_generations(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="replace")
        one, two = staged.chunk([(1, "a")]), staged.chunk([(2, "b")], number=1)
        warehouse.load(request(to, one, two, swap=plan(1)))
        again = staged.chunk([(2, "c")], number=1, generation=1)
        receipts = warehouse.load(request(to, one, again, swap=plan(1), load_id="two"))
        assert [receipt.load_id for receipt in receipts] == ["l", "two"]
        assert table(warehouse, to, *COLUMNS) == [(1, "a"), (2, "c")]

    def test_a_swap_keeps_chunks_of_its_run_that_came_before_it(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="replace")
        one, two = staged.chunk([(1, "a")]), staged.chunk([(2, "b")], number=1)
        warehouse.load(request(to, one))
        warehouse.load(request(to, one, two, swap=plan(1)))
        assert table(warehouse, to, *COLUMNS) == [(1, "a"), (2, "b")]

    def test_a_swap_without_a_chunk_empties_the_table(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="replace")
        warehouse.load(request(to, staged.chunk([(1, "a")])))
        assert warehouse.load(request(to, swap=plan(2))) == []
        assert warehouse.count(to) == {"": 0}
        (receipt,) = warehouse.load(request(to, staged.chunk([(1, "b")], generation=1)))
        assert receipt.status == "superseded"

    # ---- files that come again

    @pytest.mark.parametrize("swapped", [False, True])
    def test_a_file_that_comes_again_replaces_its_own_rows(
        self, warehouse: Warehouse, staged: StagedFolder, swapped: bool
    ) -> None:
        to = target(reupload="replace")
        one = staged.chunk([(1, "a"), (2, "a")], origin="a.csv")
        other = staged.chunk([(3, "b")], origin="b.csv", number=1)
        again = staged.chunk([(1, "A")], origin="a.csv", run=2)
        swap = plan(2, paths=["a.csv"]) if swapped else None
        warehouse.load(request(to, one, other))
        warehouse.load(request(to, again, swap=swap))
        (receipt,) = warehouse.load(
            request(to, staged.chunk([(4, "late")], origin="a.csv", number=2))
        )
        assert receipt.status == "superseded"
        assert table(warehouse, to, *COLUMNS) == [(1, "A"), (3, "b")]

    def test_a_file_that_comes_again_without_rows_leaves_none(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(reupload="replace")
        swap = plan(2, paths=["a.csv", "never.csv"])
        warehouse.load(request(to, staged.chunk([(1, "a")], origin="a.csv")))
        warehouse.load(request(to, staged.chunk([], run=2), swap=swap))
        late = staged.chunk([(2, "late")], origin="a.csv", number=1)
        assert [r.status for r in warehouse.load(request(to, late))] == ["superseded"]
        assert warehouse.count(to) == {"": 0}

    def test_of_a_file_that_comes_twice_in_one_load_the_later_counts(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(reupload="replace")
        old, new = (staged.chunk([(run, "a")], origin="a.csv", run=run) for run in (1, 2))
        receipts = warehouse.load(request(to, old, new))
        assert [receipt.status for receipt in receipts] == ["superseded", "loaded"]
        assert table(warehouse, to, *COLUMNS) == [(2, "a")]

    def test_chunks_of_no_file_replace_none(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(reupload="replace")
        chunks = [staged.chunk([(run, "a")], run=run) for run in (1, 2)]
        warehouse.load(request(to, *chunks))
        warehouse.load(request(to, staged.chunk([(3, "a")], run=3)))
        assert table(warehouse, to, *COLUMNS) == [(run, "a") for run in (1, 2, 3)]

    def test_files_append_where_they_are_not_to_replace(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(reupload="append")
        for run in (2, 1):
            warehouse.load(request(to, staged.chunk([(run, "a")], origin="a.csv", run=run)))
        assert table(warehouse, to, *COLUMNS) == [(1, "a"), (2, "a")]

    @pytest.mark.parametrize("swapped", [False, True])
    def test_a_file_that_comes_again_into_a_merge_is_merged(
        self, warehouse: Warehouse, staged: StagedFolder, swapped: bool
    ) -> None:
        """A row of a.csv may have won over b.csv's: deleted, neither would be there."""
        to = target(write="merge", reupload="replace")
        swap = plan(3, paths=["a.csv"]) if swapped else None
        warehouse.load(request(to, staged.chunk([(1, "b")], origin="b.csv", merge=True)))
        warehouse.load(request(to, staged.chunk([(1, "a")], origin="a.csv", run=2, merge=True)))
        again = staged.chunk([(2, "a")], origin="a.csv", run=3, merge=True)
        warehouse.load(request(to, again, swap=swap))
        late = staged.chunk([(2, "late"), (3, "late")], origin="a.csv", number=1, merge=True)
        assert [receipt.status for receipt in warehouse.load(request(to, late))] == ["loaded"]
        assert table(warehouse, to, *COLUMNS) == [(1, "a"), (2, "a"), (3, "late")]

    # ---- merge

    def test_the_newest_version_of_a_key_wins_and_null_is_oldest(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="merge", version="at")
        moments = [None, naive("2026-01-01"), naive("2026-01-01T00:00:00.000001")]
        rows = [(n, moments[n], "first") for n in range(3)]
        rows += [(n, None, "no version") for n in (1, 2)]
        (receipt,) = warehouse.load(request(to, staged.chunk(rows, MERGED, merge=True)))
        assert (receipt.rows, receipt.inserted, receipt.updated) == (5, 3, 0)
        rows = [(n, moments[1], "second") for n in range(4)]
        (receipt,) = warehouse.load(request(to, staged.chunk(rows, MERGED, run=2, merge=True)))
        assert (receipt.rows, receipt.inserted, receipt.updated) == (4, 1, 2)
        assert table(warehouse, to, "id", "note") == [
            (0, "second"), (1, "second"), (2, "first"), (3, "second"),
        ]  # fmt: skip

    def test_ties_are_broken_by_seq_generation_slice_chunk_and_row(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        places: list[dict[str, Any]] = [
            {"run": run, "generation": generation, "part": part, "number": number}
            for run in (1, 2) for generation in (0, 1) for part in (0, 1) for number in (0, 1)
        ]  # fmt: skip
        for at, (lesser, greater) in enumerate(itertools.pairwise(places)):
            to = target(f"t{at}", "merge", version="at")
            older = staged.chunk([(1, None, "x"), (1, None, "old")], MERGED, **lesser, merge=True)
            newer = staged.chunk([(1, None, "x"), (1, None, "new")], MERGED, **greater, merge=True)
            for one in (older, newer):
                warehouse.load(request(to, one))
            assert table(warehouse, to, "note") == [("new",)], (lesser, greater)
            at_once = target(f"once{at}", "merge", version="at")
            warehouse.load(request(at_once, newer, older))
            assert table(warehouse, at_once, "note") == [("new",)], (lesser, greater)

    def test_a_key_of_several_columns_is_one_key(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="merge", primary_key=("id", "note"))
        for run in (1, 2):
            rows = [(1, "a"), (1, "b"), (2, "a")]
            warehouse.load(request(to, staged.chunk(rows, run=run, merge=True)))
        assert table(warehouse, to, *COLUMNS) == [(1, "a"), (1, "b"), (2, "a")]
        assert set(warehouse.count(to, by_chunk=True).values()) == {3}

    def test_a_key_that_is_no_longer_good_keeps_its_row(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        to = target(write="merge")
        warehouse.load(request(to, staged.chunk([(1, "a"), (2, "a")], merge=True)))
        warehouse.load(request(to, staged.chunk([(1, "b")], generation=1, merge=True)))
        assert table(warehouse, to, *COLUMNS) == [(1, "b"), (2, "a")]


def table(warehouse: Warehouse, to: Target, *columns: str) -> list[tuple[Any, ...]]:
    """The target's rows, sorted."""
    names = ", ".join(f'"{column}"' for column in columns)
    rows = warehouse.query(f'SELECT {names} FROM "{to.schema}"."{to.table}"').rows
    return sorted(rows, key=lambda row: [(value is None, value) for value in row])


def known(receipts: Sequence[Receipt]) -> list[tuple[Any, ...]]:
    """What the ledger keeps of each receipt."""
    return [
        (r.chunk, r.generation, r.seq, r.status, r.rows, r.load_id, r.loaded_at) for r in receipts
    ]


def naive(text: str) -> datetime:
    """A timestamp without a zone."""
    return datetime.fromisoformat(text)
