"""Each warehouse does what every warehouse does; and what is DuckDB's or Postgres's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.pipeline import WarehouseConfig
from penstock.ports import Warehouse
from penstock.testing.warehouses import WarehouseContract
from penstock.warehouses.duckdb import DuckDBWarehouse
from penstock.warehouses.postgres import PostgresWarehouse


def duckdb_at(folder: Path) -> Warehouse:
    config = WarehouseConfig("duckdb", {"path": "shop.duckdb", "memory_mb": 128})
    return DuckDBWarehouse.from_config(config, str, folder)


def postgres_at(uri: str) -> Warehouse:
    return PostgresWarehouse.from_config(WarehouseConfig("postgres", {"url": uri}), str, Path())


class TestDuckDB(WarehouseContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Callable[[], Warehouse]:
        return lambda: duckdb_at(tmp_path)


class TestPostgres(WarehouseContract):
    @pytest.fixture
    def opener(self, database) -> Callable[[], Warehouse]:
        return lambda: postgres_at(database.uri)
