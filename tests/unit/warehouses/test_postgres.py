"""What is Postgres's own: the way in, what it cannot store, waiting, and lost connections."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.errors import Rejected, SpecError, Transient
from penstock.model import Closing, Counts, StreamKey
from penstock.pipeline import WarehouseConfig
from penstock.testing.staged import AT, COLUMNS, STREAM, StagedFolder, plan, request, run_id, target
from penstock.testing.warehouses import table
from penstock.warehouses import postgres as adapter
from penstock.warehouses.postgres import PostgresWarehouse

WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[StagedFolder]:
    connection = duckdb.connect(config={"threads": 1})
    yield StagedFolder(tmp_path / "staging", connection)
    connection.close()


def configured(options: dict[str, Any]) -> PostgresWarehouse:
    return PostgresWarehouse.from_config(WarehouseConfig("postgres", options), Path("/here"))


@pytest.fixture
def warehouse(database) -> Iterator[PostgresWarehouse]:
    warehouse = configured({"url": database.uri})
    warehouse.open()
    warehouse.set_up("w-1")
    yield warehouse
    warehouse.close()


# ---- the way in


def test_fields_need_no_escaping_and_the_password_is_not_shown() -> None:
    warehouse = configured(
        {"host": "db", "port": 5433, "database": "dwh", "user": "a'b", "password": "p@ss \\ '#/"}
    )
    assert "password='p@ss \\\\ \\'#/'" in warehouse._conninfo
    assert "user='a\\'b'" in warehouse._conninfo
    assert "port='5433'" in warehouse._conninfo
    assert str(warehouse) == "postgres db/dwh"


def test_a_url_is_taken_apart_and_fields_win() -> None:
    warehouse = configured(
        {
            "url": "postgresql://me:p%40ss@db:5433/d%20wh?sslmode=require",
            "user": "you",
            "sslrootcert": "ca.pem",
        }
    )
    for part in (
        "user='you'", "password='p@ss'", "host='db'", "port='5433'", "dbname='d wh'",
        "sslmode='require'", "sslrootcert='/here/ca.pem'",
    ):  # fmt: skip
        assert part in warehouse._conninfo


def test_a_url_of_something_else_is_a_mistake_in_the_file() -> None:
    with pytest.raises(SpecError, match="none of Postgres"):
        configured({"url": "mysql://db/dwh"})


def test_a_missing_driver_prints_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(SpecError) as caught:
        configured({"host": "db", "database": "dwh"}).open()
    assert caught.value.fix == "pip install 'penstock[postgres]'"


def test_a_server_that_does_not_answer_is_transient(free_port: int) -> None:
    with pytest.raises(Transient):
        configured({"host": "127.0.0.1", "port": free_port, "database": "dwh"}).open()


def test_a_database_that_is_not_there_is_rejected(database) -> None:
    options = {"host": "127.0.0.1", "port": database.port, "user": "postgres", "database": "nope"}
    warehouse = configured(options)
    with pytest.raises(Rejected, match="does not let us in"):
        warehouse.open()
    with pytest.raises(Rejected, match="does not let us in"):
        warehouse.open()


def test_a_reader_cannot_write(database, warehouse: PostgresWarehouse) -> None:
    reader = configured({"url": database.uri})
    reader.open(read_only=True)
    with pytest.raises(Rejected, match="refused"):
        reader.query("CREATE TABLE t (a integer)")
    assert reader.identity() == "w-1"
    reader.close()


# ---- what Postgres is


def test_a_nul_character_is_rejected_with_its_column(
    warehouse: PostgresWarehouse, staged: StagedFolder
) -> None:
    with pytest.raises(Rejected, match="NUL") as caught:
        warehouse.load(request(target(), staged.chunk([(1, "a\0b")])))
    assert "column note" in caught.value.why
    assert warehouse.ledger() == []


def test_a_name_that_postgres_would_cut_is_rejected(
    warehouse: PostgresWarehouse, staged: StagedFolder
) -> None:
    long = "ø" * 32
    with pytest.raises(Rejected, match="longer than 63 bytes"):
        warehouse.load(request(target(), staged.chunk([(1, 2)], {"id": "bigint", long: "bigint"})))
    with pytest.raises(Rejected, match="longer than 63 bytes"):
        warehouse.load(request(target(long), staged.chunk([(1, "a")])))


def test_a_type_that_a_view_holds_is_rejected_with_what_to_do(
    warehouse: PostgresWarehouse, staged: StagedFolder
) -> None:
    warehouse.load(request(target(), staged.chunk([(1, "a")])))
    warehouse.query("CREATE VIEW analytics.ids AS SELECT id FROM analytics.orders")
    wide = {"id": "varchar", "note": "varchar"}
    with pytest.raises(Rejected) as caught:
        warehouse.load(request(target(), staged.chunk([("x", "b")], wide, run=2)))
    assert "drop the view" in caught.value.fix
    assert table(warehouse, target(), *COLUMNS) == [(1, "a")]


def test_merge_finds_rows_by_an_index_on_the_key(
    warehouse: PostgresWarehouse, staged: StagedFolder
) -> None:
    for run in (1, 2):
        to = target("t" * 63, write="merge", primary_key=("note", "id"))
        warehouse.load(request(to, staged.chunk([(1, "a")], run=run, merge=True)))
    found = warehouse.query("SELECT indexdef FROM pg_indexes WHERE schemaname = 'analytics'").rows
    assert len(found) == 1
    assert "(note, id)" in str(found[0][0])


def test_json_keeps_its_text(warehouse: PostgresWarehouse, staged: StagedFolder) -> None:
    columns = {"id": "bigint", "document": "json"}
    text = '{"b":  1, "a": 1.50, "b": 2}'
    warehouse.load(request(target(), staged.chunk([(1, text)], columns)))
    found = warehouse.query(
        "SELECT document::text, pg_typeof(document)::text FROM analytics.orders"
    )
    assert found.rows == ((text, "json"),)


def test_any_statement_may_be_a_query(warehouse: PostgresWarehouse) -> None:
    assert warehouse.query('CREATE TABLE t (a numeric, b text COLLATE "C")').rows == ()
    assert warehouse.query("INSERT INTO t VALUES (1.50, 'x') RETURNING a").rows == (
        (Decimal("1.50"),),
    )
    assert warehouse.query("SHOW TimeZone").rows == (("UTC",),)
    assert warehouse.query("VALUES (1), (2);", limit=1).rows == ((1,),)
    found = warehouse.query("SELECT a, a, now() - now() AS b FROM t -- the end", limit=5)
    assert (found.columns, found.types) == (("a", "a", "b"), ("numeric", "numeric", "interval"))


def test_a_load_of_more_chunks_than_a_statement_takes(
    warehouse: PostgresWarehouse, staged: StagedFolder
) -> None:
    """65,535 values to a statement, of which a chunk's ledger row takes twelve."""
    chunks = [staged.chunk([], number=number) for number in range(5_500)]
    assert len(warehouse.load(request(target(), *chunks))) == 5_500
    assert len(warehouse.ledger()) == 5_500


# ---- others beside it


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_load_waits_for_the_lock_and_reads_what_its_holder_left(
    database, warehouse: PostgresWarehouse, staged: StagedFolder,
    monkeypatch: pytest.MonkeyPatch, isolation: str,
) -> None:  # fmt: skip
    """Were decisions read before the lock, the chunk would land twice."""
    database.run(
        f"ALTER DATABASE \"{database.name}\" SET default_transaction_isolation TO '{isolation}'"
    )
    to, chunk = target(), staged.chunk([(1, "a")])
    warehouse.load(request(to, staged.chunk([(0, "a")], number=1)))
    load, second = adapter.load, []

    def load_while_another_waits(*arguments: Any) -> Any:
        receipts = load(*arguments)
        if not second:
            second.append(workers.submit(warehouse.load, request(to, chunk, load_id="second")))
            assert any(database.run(WAITING) != [("0",)] for _ in range(1000))
        return receipts

    monkeypatch.setattr(adapter, "load", load_while_another_waits)
    with ThreadPoolExecutor(1) as workers:
        (first,) = warehouse.load(request(to, chunk, load_id="first"))
        futures: list[Future[Any]] = second
        (again,) = futures[0].result()
    assert (first.load_id, again.load_id) == ("first", "first")
    assert table(warehouse, to, *COLUMNS) == [(0, "a"), (1, "a")]


def test_a_run_is_closed_after_the_load_that_it_met(
    database, warehouse: PostgresWarehouse, staged: StagedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its closing record would not know of the rows that are about to be committed."""
    closing = Closing(run_id(1), StreamKey("p", "e", "w", STREAM), 1, Counts(1, 1), 0, 0, AT)
    load, closed = adapter.load, []

    def load_while_it_closes(*arguments: Any) -> Any:
        receipts = load(*arguments)
        closed.append(workers.submit(warehouse.close_run, closing, str(target())))
        assert any(database.run(WAITING) != [("0",)] for _ in range(1000))
        assert not closed[0].done()
        return receipts

    monkeypatch.setattr(adapter, "load", load_while_it_closes)
    with ThreadPoolExecutor(1) as workers:
        warehouse.load(request(target(), staged.chunk([(1, "a")])))
        closed[0].result()
    found = warehouse.query("SELECT run_id FROM penstock._penstock_runs").rows
    assert found == ((run_id(1),),)


def test_a_connection_lost_at_any_statement_leaves_nothing_half_done(
    database, warehouse: PostgresWarehouse, staged: StagedFolder, statements
) -> None:
    """The server ends the session for real, before each statement in turn."""
    to = target(write="replace")
    warehouse.load(request(to, staged.chunk([(1, "old")]), swap=plan(1)))
    change = request(to, staged.chunk([(2, "new")], run=2), swap=plan(2))
    end = (
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
        "WHERE application_name = 'penstock-load' AND datname = current_database()"
    )
    for number in count(2):
        with statements(lambda at, number=number: at == number and database.run(end)) as seen:
            try:
                warehouse.load(change)
            except Transient:
                assert table(warehouse, to, *COLUMNS) == [(1, "old")]
                assert [row.seq for row in warehouse.ledger()] == [1]
                continue
        assert seen() < number
        break
    assert number > 10
    assert table(warehouse, to, *COLUMNS) == [(2, "new")]


Watching = Callable[[Callable[[int], object]], Any]


@pytest.fixture
def statements() -> Watching:
    """Calls a function before each statement that reaches the driver, with its number."""
    from contextlib import contextmanager

    import adbc_driver_manager

    @contextmanager
    def watching(seen: Callable[[int], object]) -> Iterator[Callable[[], int]]:
        numbers = count(1)
        last = 0

        def told() -> None:
            nonlocal last
            last = next(numbers)
            seen(last)

        class Statement(adbc_driver_manager.AdbcStatement):
            def execute_query(self) -> Any:
                told()
                return super().execute_query()

            def execute_update(self) -> Any:
                told()
                return super().execute_update()

        class Connection(adbc_driver_manager.AdbcConnection):
            def commit(self) -> None:
                told()
                super().commit()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(adbc_driver_manager, "AdbcStatement", Statement)
            patch.setattr(adbc_driver_manager, "AdbcConnection", Connection)
            yield lambda: last

    return watching


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
