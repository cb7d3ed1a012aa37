"""DuckDB reaches its own folders and nothing else, whatever the SQL of a pipeline file says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine import connect, literal, quote

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "secret.csv").write_text("password\nhunter2\n")
    (tmp_path / "secret.duckdb").write_bytes(b"")
    (tmp_path / "workshop").mkdir()
    (tmp_path / "workshop" / "secret.csv").write_text("password\nhunter2\n")
    return tmp_path / "work"


@pytest.fixture
def connection(work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect([work]) as connection:
        yield connection


def test_files_in_its_folders_are_written_and_read(work: Path, tmp_path: Path) -> None:
    second = tmp_path / "second o'clock"
    second.mkdir()
    with connect([work, second]) as connection:
        for folder in (work, second):
            path = literal(str(folder / "x.parquet"))
            connection.execute(f"COPY (SELECT 42 AS x) TO {path}")
            assert connection.execute(f"SELECT x FROM {path}").fetchall() == [(42,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '{outside}/secret.csv'",
        "SELECT * FROM read_csv('{outside}/secret.csv')",
        "SELECT * FROM read_csv('{work}/../secret.csv')",
        "SELECT * FROM read_csv('{outside}/workshop/secret.csv')",
        "SELECT * FROM read_text('{outside}/secret.csv')",
        "SELECT * FROM read_blob('/etc/hostname')",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM glob('{outside}/*')",
        "SELECT * FROM read_json('https://127.0.0.1:9/x.json')",
        "SELECT * FROM 's3://bucket/x.parquet'",
        "COPY (SELECT 1) TO '{outside}/made.csv'",
        "COPY (SELECT 1 AS x) TO '{outside}/made' (FORMAT parquet, PARTITION_BY x)",
        "EXPORT DATABASE '{outside}/made'",
        "IMPORT DATABASE '{outside}'",
        "ATTACH '{outside}/secret.duckdb' AS other",
        "ATTACH '{outside}/made.duckdb' AS other",
        "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{outside}/x.duckdb_extension'",
        "INSTALL sqlite FROM community",
    ],
)
def test_nothing_outside_is_reached(
    connection: duckdb.DuckDBPyConnection, work: Path, sql: str
) -> None:
    before = sorted(work.parent.rglob("*"))
    with pytest.raises(duckdb.Error):
        connection.execute(sql.format(outside=work.parent, work=work)).fetchall()
    assert sorted(work.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "sql",
    [
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET allowed_paths = ['/etc/hostname']",
        "SET lock_configuration = false",
        "SET autoinstall_known_extensions = true",
        "SET autoload_known_extensions = true",
        "SET memory_limit = '100GB'",
        "SET temp_directory = '/tmp'",
        "SET TimeZone = 'America/New_York'",
        "SET threads = 64",
        "RESET enable_external_access",
        "RESET TimeZone",
        "PRAGMA enable_external_access = true",
    ],
)
def test_its_settings_stand_still(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(duckdb.Error):
        connection.execute(sql)


def test_its_time_zone_is_utc(connection: duckdb.DuckDBPyConnection) -> None:
    found = connection.execute("SELECT TIMESTAMPTZ '2026-11-23 06:00:00+00'::VARCHAR").fetchall()
    assert found == [("2026-11-23 06:00:00+00",)]


def test_what_does_not_fit_into_memory_spills_into_the_first_folder(work: Path) -> None:
    with connect([work], memory_mb=32) as connection:
        (folder,) = connection.execute("SELECT current_setting('temp_directory')").fetchall()[0]
        assert folder == str(work / "spill")
        connection.execute(
            "CREATE TABLE t AS SELECT range AS x, repeat('x', 40) AS y FROM range(1000000)"
        )
        assert connection.execute("SELECT count(*), max(x) FROM t").fetchall() == [
            (1_000_000, 999_999)
        ]
        assert list((work / "spill").iterdir())


def test_it_works_without_a_folder() -> None:
    with connect([]) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
        with pytest.raises(duckdb.Error):
            connection.execute("SELECT * FROM read_text('/etc/hostname')").fetchall()


@settings(max_examples=200, deadline=None)
@given(NAMES)
def test_a_hostile_name_is_only_a_name(name: str) -> None:
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT 1 AS {quote(name)}")
        assert found.description is not None
        assert [column[0] for column in found.description] == [name]


@settings(max_examples=200, deadline=None)
@given(NAMES)
def test_a_hostile_text_is_only_a_text(text: str) -> None:
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {literal(text)}").fetchall() == [(text,)]
