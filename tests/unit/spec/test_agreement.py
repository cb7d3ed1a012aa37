"""What the file lets one write is what the parts read: no key is taken and then ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.sources.files import FilesSource
from penstock.sources.formats import options as formats
from penstock.sources.postgres_session import Login
from penstock.spec import registry
from penstock.spec.models import COMMON, S3Model
from penstock.spec.problems import known_keys
from penstock.spec.stream_models import CleanModel, FormatModel
from penstock.stores.s3 import OPTIONS
from penstock.transform import steps
from penstock.warehouses.duckdb import DuckDBWarehouse
from penstock.warehouses.postgres import PostgresWarehouse

from .conftest import Load

BODY = "streams: {a: {from: {source: s, table: t}}}"


def test_every_key_of_a_format_is_one_the_files_source_reads() -> None:
    assert set(known_keys(FormatModel)) == set(formats.KEYS)


def test_every_verb_of_clean_is_one_that_transform_does() -> None:
    assert set(known_keys(CleanModel)) == set(steps._CLEAN)


def test_every_option_of_storage_is_one_that_the_store_takes() -> None:
    assert set(known_keys(S3Model)) - {"url"} == set(OPTIONS)


def test_every_option_of_postgres_reaches_the_source(load: Load) -> None:
    head = (
        "version: 1\npipeline: p\nsources:\n  s: {type: postgres, host: h, port: 6543, "
        "database: d, user: u, password: p, sslmode: require, sslrootcert: r.pem, "
        "statement_timeout: 2m}\n"
    )
    login = Login.from_config(load(BODY, head=head).sources[0])
    assert (login.host, login.port, login.database) == ("h", "6543", "d")
    assert (login.user, login.password) == ("u", "p")
    assert login.more == {"sslmode": "require", "sslrootcert": "r.pem"}
    assert login.statement_timeout_s == 120


def test_every_option_of_a_warehouse_reaches_it(load: Load, tmp_path: Path) -> None:
    head = "version: 1\npipeline: p\nsources: {s: {type: postgres, host: h}}\n"
    duck = load("warehouse: {path: w.duckdb, memory_mb: 64, threads: 1}\n" + BODY, head=head)
    warehouse = DuckDBWarehouse.from_config(duck.warehouse, tmp_path)
    assert (warehouse.path, warehouse.memory_mb, warehouse.threads) == (
        tmp_path / "w.duckdb",
        64,
        1,
    )
    postgres = load(
        "warehouse: {type: postgres, host: h, database: d, user: u, password: p@ss}\n" + BODY,
        head=head,
    )
    assert str(PostgresWarehouse.from_config(postgres.warehouse, tmp_path)) == "postgres h/d"


def test_a_files_source_opens_with_what_the_file_says(load: Load, tmp_path: Path) -> None:
    head = "version: 1\npipeline: p\nsources: {s: {type: files, url: ./up, concurrency: 2}}\n"
    config = load('streams: {a: {from: {source: s, files: "*.csv"}}}', head=head).sources[0]
    assert set(config.options) & set(COMMON) == set()
    assert FilesSource.from_config(config, tmp_path)


@pytest.mark.parametrize("type_", registry.SOURCES)
def test_every_built_in_source_is_there(type_: str) -> None:
    assert registry.load_class("source", type_).__name__.lower() == f"{type_}source"


@pytest.mark.parametrize("type_", registry.WAREHOUSES)
def test_every_built_in_warehouse_is_there(type_: str) -> None:
    assert registry.load_class("warehouse", type_).__name__.lower() == f"{type_}warehouse"
