"""Pipeline files, what they are given, and every row that comes out, good or not.

With PENSTOCK_GOLDEN=1 the expected files are written anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from penstock.engine import connect, literal
from penstock.model import ChunkId, Field, File, Link
from penstock.spec.resolve import load_pipeline
from penstock.transform import LocalFile, transform_chunk

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/pipeline.yaml"))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with connect([tmp_path, Path(__file__).parent]) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_pipeline_gives_these_rows(
    connection: duckdb.DuckDBPyConnection, case: Path, tmp_path: Path
) -> None:
    [stream] = load_pipeline(case / "pipeline.yaml").streams
    raw = tmp_path / "raw.parquet"
    [given] = case.glob("input.*")
    connection.execute(f"COPY ({RAW[given.suffix](given)}) TO {literal(str(raw))}")
    fields = declared_fields(case, connection, raw)
    origin = given.name if stream.files is not None else ""
    link = Link(
        ChunkId(stream.name, "r1", 0, "", 0), File("", "", 0, 0), fields, None, True, origin
    )
    made = transform_chunk(
        connection,
        stream,
        link,
        raw,
        None,
        tmp_path,
        generation=0,
        seq=1,
        read_reference=str,
        at=datetime(2026, 11, 23, tzinfo=UTC),
    )
    text = "\n".join(
        [
            f"counts  {made.counts}",
            f"rules   {dict(made.rules)}",
            "columns " + ", ".join(f"{field.name} {field.type}" for field in made.columns),
            "",
            "good",
            *rows(connection, made.good),
            "",
            "quarantined",
            *rows(connection, made.quarantine),
            "",
        ]
    )
    expected = case / "expected.txt"
    if os.environ.get("PENSTOCK_GOLDEN"):
        expected.write_text(text)
    assert text == expected.read_text()


RAW = {
    ".csv": lambda path: (
        "SELECT *, row_number() OVER () + 1 AS _penstock_line FROM read_csv("
        f"{literal(str(path))}, all_varchar = true, delim = ';')"
    ),
    ".ndjson": lambda path: (
        "SELECT record AS _penstock_json, row_number() OVER () AS _penstock_line FROM "
        f"read_csv({literal(str(path))}, columns = {{'record': 'VARCHAR'}}, delim = '\\x01', "
        "quote = '', escape = '', header = false, auto_detect = false)"
    ),
    ".sql": lambda path: path.read_text(),
}


def declared_fields(
    case: Path, connection: duckdb.DuckDBPyConnection, raw: Path
) -> tuple[Field, ...]:
    """The fields as the case has them; else every column of the raw file, as text."""
    declared = case / "fields.json"
    if declared.exists():
        given = json.loads(declared.read_text())
        return tuple(
            Field(name, kind) if isinstance(kind, str) else Field(name, *kind)
            for name, kind in given.items()
        )
    found = connection.execute(f"DESCRIBE FROM read_parquet({literal(str(raw))})").fetchall()
    return tuple(Field(row[0], "varchar") for row in found if not row[0].startswith("_penstock_"))


def rows(connection: duckdb.DuckDBPyConnection, files: Sequence[LocalFile]) -> Iterator[str]:
    """Each row as one line of JSON, NULLs left out."""
    for file in files:
        found = connection.execute(
            f"SELECT COLUMNS(*)::VARCHAR FROM read_parquet({literal(str(file.path))})"
        )
        names = [column[0] for column in found.description]
        for row in found.fetchall():
            told = {k: v for k, v in zip(names, row, strict=True) if v is not None}
            yield "  " + json.dumps(told, ensure_ascii=False)
