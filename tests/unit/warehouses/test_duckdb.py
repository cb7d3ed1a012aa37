"""What is DuckDB's own: one process at a time, names, and memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.errors import PenstockError, Rejected, Transient
from penstock.model import Closing, Counts, Staged, StreamKey, Target
from penstock.pipeline import WarehouseConfig
from penstock.testing.processes import killed
from penstock.testing.staged import AT, COLUMNS, STREAM, StagedFolder, plan, request, run_id, target
from penstock.testing.warehouses import table
from penstock.warehouses import duckdb as adapter
from penstock.warehouses import loading
from penstock.warehouses.duckdb import DuckDBWarehouse

WIDE_ROWS = 12_000
HOLDER = """
import sys
from pathlib import Path
from penstock.warehouses.duckdb import DuckDBWarehouse
warehouse = DuckDBWarehouse(Path(sys.argv[1]))
warehouse.open()
print("open", flush=True)
sys.stdin.read()
warehouse.close()
"""


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[StagedFolder]:
    connection = duckdb.connect(config={"threads": 1})
    yield StagedFolder(tmp_path / "staging", connection)
    connection.close()


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[DuckDBWarehouse]:
    warehouse = opened(tmp_path / "shop.duckdb")
    yield warehouse
    warehouse.close()


def opened(path: Path) -> DuckDBWarehouse:
    warehouse = DuckDBWarehouse(path, memory_mb=128)
    warehouse.open()
    warehouse.set_up("w-1")
    return warehouse


def test_the_pipeline_file_names_it_by_a_path_beside_itself(tmp_path: Path) -> None:
    config = WarehouseConfig("duckdb", {"path": "deep/shop.duckdb", "threads": 1})
    warehouse = DuckDBWarehouse.from_config(config, tmp_path)
    assert (warehouse.path, warehouse.threads) == (tmp_path / "deep" / "shop.duckdb", 1)
    warehouse.open()
    warehouse.close()
    assert warehouse.path.exists()


def test_a_file_that_another_process_holds_is_transient_and_says_which(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(Transient, match=rf"has shop.duckdb open \(PID {holder.pid},"):
            DuckDBWarehouse(path).open()
        holder.communicate("")
    warehouse = opened(path)
    warehouse.close()


def test_objects_of_one_process_share_the_file(
    warehouse: DuckDBWarehouse, staged: StagedFolder
) -> None:
    other = opened(warehouse.path)
    other.load(request(target(), staged.chunk([(1, "a")])))
    assert table(warehouse, target(), *COLUMNS) == [(1, "a")]
    other.close()
    assert warehouse.identity() == "w-1"


def test_a_file_open_in_another_way_is_transient(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(Transient, match="in another way"):
        DuckDBWarehouse(warehouse.path, memory_mb=64).open()


def test_reading_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="no warehouse"):
        DuckDBWarehouse(tmp_path / "shop.duckdb").open(read_only=True)
    assert not list(tmp_path.iterdir())


def test_reading_changes_nothing(warehouse: DuckDBWarehouse) -> None:
    warehouse.close()
    reader = DuckDBWarehouse(warehouse.path)
    reader.open(read_only=True)
    with pytest.raises(Rejected, match="read-only"):
        reader.query("CREATE TABLE t (a integer)")
    reader.close()


def test_what_is_no_duckdb_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    path.write_bytes(b"x" * 100_000)
    with pytest.raises(Rejected, match=r"does not open as a DuckDB file"):
        DuckDBWarehouse(path).open()
    assert path.read_bytes() == b"x" * 100_000


@pytest.mark.parametrize("schema", ["shop", "temp", "memory", "main", "Penstock"])
@pytest.mark.parametrize("file", ["shop.duckdb", "penstock.duckdb", "we ird's.duckdb"])
def test_a_schema_may_be_called_like_a_catalog_or_the_file(
    tmp_path: Path, staged: StagedFolder, schema: str, file: str
) -> None:
    """DuckDB would take temp.orders for a temporary table, and shop.orders for ambiguous."""
    to = Target(STREAM, schema, "orders", "merge", ("id",))
    warehouse = opened(tmp_path / file)
    for run in (1, 2):
        warehouse.load(request(to, staged.chunk([(1, "a")], run=run, merge=True)))
    warehouse.close()
    warehouse.open()
    assert warehouse.count(to) == {"": 1}
    warehouse.close()


def test_names_that_differ_by_case_are_one_column(
    warehouse: DuckDBWarehouse, staged: StagedFolder
) -> None:
    to = Target(STREAM, "Analytics", "Orders", "merge", ("ID",))
    warehouse.load(request(to, staged.chunk([(1, "a")], merge=True)))
    shouted = {"ID": "bigint", "NOTE": "varchar"}
    warehouse.load(request(to, staged.chunk([(1, "b")], shouted, run=2, merge=True)))
    assert table(warehouse, to, *COLUMNS) == [(1, "b")]


def test_columns_that_duckdb_cannot_tell_apart_are_rejected(
    warehouse: DuckDBWarehouse, staged: StagedFolder
) -> None:
    chunk = staged.chunk([], {"id": "bigint", "Id": "bigint"})
    with pytest.raises(Rejected, match='"id" and "Id" are one column'):
        warehouse.load(request(target(), chunk))


def test_a_type_that_an_index_holds_is_rejected_with_what_to_do(
    warehouse: DuckDBWarehouse, staged: StagedFolder
) -> None:
    warehouse.load(request(target(), staged.chunk([(1, "a")])))
    warehouse.query("CREATE INDEX mine ON analytics.orders (note)")
    wide = {"id": "varchar", "note": "varchar"}
    with pytest.raises(Rejected) as caught:
        warehouse.load(request(target(), staged.chunk([("x", "b")], wide, run=2)))
    assert "drop the index" in caught.value.fix
    assert table(warehouse, target(), *COLUMNS) == [(1, "a")]


def test_a_value_that_does_not_fit_is_rejected(
    warehouse: DuckDBWarehouse, staged: StagedFolder
) -> None:
    asked = request(target(), staged.chunk([("x", "a")], {"id": "varchar", "note": "varchar"}))
    narrow = request(target(), staged.chunk([(1, "a")]))
    wrong = type(asked)("l", asked.target, narrow.contract, asked.chunks)
    with pytest.raises(Rejected, match="a value does not fit its column"):
        warehouse.load(wrong)
    assert warehouse.ledger() == []


def test_a_large_merge_in_parts_is_the_same_merge(
    warehouse: DuckDBWarehouse, staged: StagedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MERGE_ROWS", 3)
    to = target(write="merge")
    chunks = [staged.chunk([(1, f"{n}"), (n, "x")], number=n, merge=True) for n in range(2, 7)]
    receipts = warehouse.load(request(to, *reversed(chunks)))
    assert table(warehouse, to, *COLUMNS) == [(1, "6"), *((n, "x") for n in range(2, 7))]
    assert sum(receipt.inserted for receipt in receipts) == 6


def test_a_wide_table_goes_on_with_one_thread_where_two_have_no_room(
    tmp_path: Path, staged: StagedFolder
) -> None:
    chunks = [wide_chunk(staged, number) for number in range(4)]
    warehouse = DuckDBWarehouse(tmp_path / "wide.duckdb", memory_mb=96)
    warehouse.open()
    warehouse.set_up("w-1")
    warehouse.load(request(target(), *chunks))
    assert warehouse.threads == 1
    assert warehouse.count(target()) == {"": 4 * WIDE_ROWS}
    warehouse.close()


def test_a_load_that_has_no_room_says_what_to_give(tmp_path: Path, staged: StagedFolder) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "wide.duckdb", memory_mb=32)
    warehouse.open()
    warehouse.set_up("w-1")
    with pytest.raises(Transient) as caught:
        warehouse.load(request(target(), *[wide_chunk(staged, number) for number in range(4)]))
    assert "memory_mb" in caught.value.fix
    assert warehouse.ledger() == []
    warehouse.close()


def wide_chunk(staged: StagedFolder, number: int) -> Staged:
    """WIDE_ROWS rows of 60 texts that do not compress."""
    columns = {f"c{place}": "varchar" for place in range(60)}
    chunk = staged.chunk([("x",) * 60], columns, number=number)
    path = Path(chunk.paths[0])
    other = path.with_name(f"grown-{path.name}")
    texts = ", ".join(f"md5(c{n} || i) AS c{n}" for n in range(60))
    staged.connection.execute(
        f"COPY (SELECT f.* REPLACE ({texts}) FROM read_parquet('{path}', hive_partitioning = false)"
        f" f, range({WIDE_ROWS}) r(i)) TO '{other}' (FORMAT parquet)"
    )
    counts = Counts(WIDE_ROWS, WIDE_ROWS)
    return replace(chunk, commit=replace(chunk.commit, counts=counts), paths=(str(other),))


def test_a_load_of_very_many_chunks_is_one_transaction(
    warehouse: DuckDBWarehouse, staged: StagedFolder
) -> None:
    chunks = [staged.chunk([], number=number) for number in range(1201)]
    assert len(warehouse.load(request(target(), *chunks))) == 1201
    assert len(warehouse.load(request(target(), *chunks, load_id="two"))) == 1201
    assert {row.load_id for row in warehouse.ledger()} == {"l"}


def test_moments_leave_a_query_as_datetimes_or_text(warehouse: DuckDBWarehouse) -> None:
    answer = warehouse.query(
        "SELECT timestamptz '2024-03-31 02:30:00+02' a, [timestamptz '2024-01-01 00:00:00+00'] b, "
        "timestamptz 'infinity' c, NULL::timestamptz d -- the end"
    )
    moment, nested, endless, nothing = answer.rows[0]
    assert str(moment) == "2024-03-31 00:30:00+00:00"
    assert (nested, endless, nothing) == ("['2024-01-01 00:00:00+00']", "infinity", None)
    assert answer.columns == ("a", "b", "c", "d")
    assert answer.types[0] == "TIMESTAMP WITH TIME ZONE"
    assert warehouse.query("CREATE TABLE t (a integer)").rows == ()


def test_a_run_is_not_closed_while_it_loads(
    warehouse: DuckDBWarehouse, staged: StagedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its closing record would not know of the rows that are about to be committed."""
    key = StreamKey("shop", "dev", "w", STREAM)
    closing = Closing(run_id(1), key, 1, Counts(1, 1), 0, 0, AT)
    load = adapter.load

    def load_and_close(*arguments: Any) -> Any:
        receipts = load(*arguments)
        with pytest.raises(Transient):
            warehouse.close_run(closing, str(target()))
        return receipts

    monkeypatch.setattr(adapter, "load", load_and_close)
    warehouse.load(request(target(), staged.chunk([(1, "a")])))
    warehouse.close_run(closing, str(target()))
    assert warehouse.query("SELECT run_id FROM penstock._penstock_runs").rows == ((run_id(1),),)


def test_a_process_killed_within_a_load_leaves_the_old_table(
    warehouse: DuckDBWarehouse, staged: StagedFolder
) -> None:
    to = target(write="replace")
    warehouse.load(request(to, staged.chunk([(1, "old")]), swap=plan(1)))
    change = request(to, staged.chunk([(2, "new")], run=2), swap=plan(2))
    warehouse.close()
    assert killed(_load_until_commit, warehouse.path, change) == "all but the commit"
    warehouse.open()
    assert table(warehouse, to, *COLUMNS) == [(1, "old")]
    assert [row.seq for row in warehouse.ledger()] == [1]
    warehouse.load(change)
    assert table(warehouse, to, *COLUMNS) == [(2, "new")]


def _load_until_commit(tell: Callable[[str], None], path: Path, change: object) -> None:
    original = adapter.load

    def load(*arguments: object) -> object:
        receipts = original(*arguments)  # type: ignore[arg-type]
        tell("all but the commit")
        return receipts

    adapter.load = load  # type: ignore[assignment]
    opened(path).load(change)  # type: ignore[arg-type]
