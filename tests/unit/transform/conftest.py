"""One chunk through transform, and what came of it as rows of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.engine import connect, literal, quote
from penstock.model import ChunkId, Contract, Field, File, Link
from penstock.pipeline import Load, Stream
from penstock.transform import Transformed, output_fields, transform_chunk

AT = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
Row = dict[str, Any]


def stream(**given: Any) -> Stream:
    write = given.pop("write", "append")
    if not {"table", "files", "query"} & set(given):
        given["table"] = "public.orders"
    return Stream(name="orders", source="shop", load=Load("analytics", "orders", write), **given)


@dataclass(frozen=True)
class Outcome:
    made: Transformed
    good: list[Row]
    quarantined: list[Row]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.good]


@dataclass(frozen=True)
class Bench:
    """A folder and a connection locked into it, as the runtime gives them."""

    folder: Path
    connection: duckdb.DuckDBPyConnection

    def raw(self, select: str) -> Path:
        path = self.folder / "raw.parquet"
        self.connection.execute(f"COPY ({select}) TO {literal(str(path))} (FORMAT parquet)")
        return path

    def raw_texts(self, columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Path:
        """A raw file of text columns, with their lines."""
        made = ", ".join(f"{quote(name)} VARCHAR" for name in columns)
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE given (n BIGINT, {made})")
        marks = ", ".join("?" for _ in columns)
        for number, row in enumerate(rows, 2):
            self.connection.execute(f"INSERT INTO given VALUES ({number}, {marks})", list(row))
        return self.raw("SELECT * EXCLUDE (n), n AS _penstock_line FROM given ORDER BY n")

    def fields(self, **types: str) -> tuple[Field, ...]:
        return tuple(Field(name, kind) for name, kind in types.items())

    def outputs(self, stream: Stream, **types: str) -> dict[str, str]:
        made = output_fields(self.connection, stream, self.fields(**types))
        return {field.name: field.type for field in made}

    def run(
        self,
        stream: Stream,
        raw: Path,
        fields: tuple[Field, ...],
        contract: Contract | None = None,
        origin: str = "",
        read_reference: Callable[[str], str] = str,
    ) -> Outcome:
        """The chunk is transformed; its sums hold."""
        chunk = ChunkId("orders", "20261123T060000-9f2c41aa", 0, "", 7)
        link = Link(chunk, File("k", "", 0, 0), fields, None, True, origin)
        made = transform_chunk(
            self.connection,
            stream,
            link,
            raw,
            contract,
            self.folder,
            generation=2,
            seq=5,
            read_reference=read_reference,
            at=AT,
        )
        good = [row for file in made.good for row in self.rows(file.path)]
        bad = [row for file in made.quarantine for row in self.rows(file.path)]
        assert made.counts.holds
        assert (made.counts.good, made.counts.quarantined) == (len(good), len(bad))
        assert [file.rows for file in made.good] == ([len(good)] if good else [])
        assert sum(made.rules.values()) == len(bad)
        return Outcome(made, good, bad)

    def rows(self, path: Path) -> list[Row]:
        """The rows of a Parquet file, every value as DuckDB's text."""
        found = self.connection.execute(
            f"SELECT COLUMNS(*)::VARCHAR FROM read_parquet({literal(str(path))})"
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def types(self, path: Path) -> Mapping[str, str]:
        rows = self.connection.execute(
            f"DESCRIBE FROM read_parquet({literal(str(path))})"
        ).fetchall()
        return {row[0]: row[1] for row in rows}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with connect([tmp_path]) as connection:
        yield Bench(tmp_path, connection)
