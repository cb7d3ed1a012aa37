"""Each warehouse does what every warehouse does; and what is DuckDB's or Postgres's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_manager
import duckdb
import pytest

from penstock.pipeline import WarehouseConfig
from penstock.ports import Warehouse
from penstock.testing.warehouse_faults import Seen, WarehouseFaultContract, Watch
from penstock.testing.warehouse_tables import WarehouseTableContract
from penstock.testing.warehouses import WarehouseContract
from penstock.warehouses.duckdb import DuckDBWarehouse
from penstock.warehouses.postgres import PostgresWarehouse


def duckdb_at(folder: Path) -> DuckDBWarehouse:
    config = WarehouseConfig("duckdb", {"path": "shop.duckdb", "memory_mb": 128})
    return DuckDBWarehouse.from_config(config, folder)


def postgres_at(uri: str) -> PostgresWarehouse:
    return PostgresWarehouse.from_config(WarehouseConfig("postgres", {"url": uri}), Path())


class Watched:
    """A DuckDB connection each of whose statements is seen."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, numbers: Numbers) -> None:
        self._connection, self._numbers = connection, numbers

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._connection, name)
        if name == "cursor":
            return lambda: Watched(attribute(), self._numbers)
        if name not in ("execute", "executemany"):
            return attribute
        return lambda *arguments: self._numbers.around(lambda: attribute(*arguments))


class Numbers:
    """Numbers statements, and tells `seen` of each."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._number, self._inside = seen, 0, False

    def around(self, statement: Callable[[], Any]) -> Any:
        """The statement's answer; those that `seen` itself runs are not told."""
        if self._inside:
            return statement()
        self._number += 1
        self._tell(False)
        answer = statement()
        self._tell(True)
        return answer

    def _tell(self, done: bool) -> None:
        number, self._inside = self._number, True
        try:
            self._seen(number, done)
        finally:
            self._inside = False


@contextmanager
def watch_duckdb(warehouse: DuckDBWarehouse, seen: Seen) -> Iterator[None]:
    database = warehouse._database
    warehouse._database = Watched(database, Numbers(seen))
    try:
        yield
    finally:
        warehouse._database = database


@contextmanager
def watch_postgres(warehouse: PostgresWarehouse, seen: Seen) -> Iterator[None]:
    numbers = Numbers(seen)

    class Statement(adbc_driver_manager.AdbcStatement):
        def execute_query(self) -> Any:
            return numbers.around(super().execute_query)

        def execute_update(self) -> Any:
            return numbers.around(super().execute_update)

    class Connection(adbc_driver_manager.AdbcConnection):
        def commit(self) -> None:
            numbers.around(super().commit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adbc_driver_manager, "AdbcStatement", Statement)
        patch.setattr(adbc_driver_manager, "AdbcConnection", Connection)
        yield


class TestDuckDB(WarehouseContract, WarehouseTableContract, WarehouseFaultContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Callable[[], Warehouse]:
        return lambda: duckdb_at(tmp_path)

    @pytest.fixture
    def watch(self) -> Watch:
        return watch_duckdb

    @pytest.fixture
    def lost(self) -> Callable[[], Exception]:
        return lambda: duckdb.IOException("the disk is gone")


class TestPostgres(WarehouseContract, WarehouseTableContract, WarehouseFaultContract):
    orders = 4

    @pytest.fixture
    def opener(self, database) -> Callable[[], Warehouse]:
        return lambda: postgres_at(database.uri)

    @pytest.fixture
    def watch(self) -> Watch:
        return watch_postgres

    @pytest.fixture
    def lost(self) -> Callable[[], Exception]:
        return lambda: adbc_driver_manager.OperationalError(
            "no connection to the server", status_code=adbc_driver_manager.AdbcStatusCode.IO
        )
