"""DuckDB connections that can reach their own work folder and nothing else, and SQL quoting.

Why: a pipeline's SQL comes from a file that several people edit; it must not be able to read
other files, fetch extensions, or change the settings that say so
(tests/unit/test_engine.py tries each).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

RESERVED = "_penstock_"
"""Column names that start so are Penstock's own."""


def connect(
    folders: Sequence[Path], *, memory_mb: int = 192, threads: int = 1
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB, in UTC, that reads and writes only below `folders`."""
    import duckdb

    connection = duckdb.connect(config={"threads": threads, "memory_limit": f"{memory_mb}MB"})
    connection.execute("SET TimeZone = 'UTC'")
    lock_in(connection, folders)
    return connection


def lock_in(connection: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """The connection reaches only `folders`, loads no extension, and its settings stand still."""
    allowed = ", ".join(literal(str(folder.resolve())) for folder in folders)
    if folders:
        connection.execute(f"SET temp_directory = {literal(str(folders[0].resolve() / 'spill'))}")
    connection.execute(f"SET allowed_directories = [{allowed}]")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def quote(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as an SQL string, for places that take no bound value (COPY, SET)."""
    return "'" + text.replace("'", "''") + "'"
