"""A source on a fresh database, and what it reads as plain rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.model import Slice, Window
from penstock.pipeline import Load, SourceConfig, Stream
from penstock.ports import Claims, Piece
from penstock.sources.postgres import PostgresSource


@dataclass
class Shop:
    """A source, and a folder to read into."""

    source: PostgresSource
    folder: Path
    waits: list[float] = field(default_factory=list)

    def stream(self, table: str | None = "orders", **options: Any) -> Stream:
        load = Load("raw", "target", "append")
        return Stream(options.pop("name", "orders"), "shop", load, table=table, **options)

    def contents(self, piece: Piece) -> list[tuple[Any, ...]]:
        """The rows of a raw file, every value as DuckDB's text."""
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(
                "SELECT COLUMNS(*)::VARCHAR FROM read_parquet(?)", [str(piece.path)]
            ).fetchall()

    def physical(self, piece: Piece) -> dict[str, str]:
        """The types of the raw file itself."""
        with duckdb.connect() as connection:
            found = connection.execute(
                "DESCRIBE SELECT * FROM read_parquet(?)", [str(piece.path)]
            ).fetchall()
        return {row[0]: row[1] for row in found}

    def plan(self, stream: Stream, cursor: Any = None, kind: Any = "increment") -> Window:
        return self.source.plan(stream, kind, cursor, Claims())

    def pieces(self, stream: Stream, part: Slice, position: Any = None) -> list[Piece]:
        return list(self.source.read(stream, part, position, self.folder))

    def read(self, stream: Stream, window: Window | None = None) -> list[tuple[Any, ...]]:
        """Every row of the window (default: of a first plan), as text."""
        window = self.plan(stream) if window is None else window
        rows: list[tuple[Any, ...]] = []
        for part in window.slices:
            pieces = self.pieces(stream, part)
            assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
            for piece in pieces:
                found = self.contents(piece)
                assert len(found) == piece.rows
                rows.extend(found)
        return rows

    def types(self, stream: Stream) -> dict[str, str]:
        return {f.name: f.type for f in self.source.describe(stream).fields}


MakeShop = Callable[..., Shop]


@pytest.fixture
def make_shop(database: Any, tmp_path: Path) -> Iterator[MakeShop]:
    """Sources on the test's database, closed at its end; options go into the source's config."""
    made: list[Shop] = []

    def make(
        concurrency: int = 1,
        naive_timestamps: str | None = None,
        wait: Callable[[float], None] | None = None,
        **options: Any,
    ) -> Shop:
        address = {
            "host": "127.0.0.1",
            "port": database.port,
            "database": database.name,
            "user": "postgres",
        }
        config = SourceConfig(
            "shop", "postgres", {**address, **options}, concurrency, naive_timestamps
        )
        shop = Shop(PostgresSource.from_config(config, tmp_path), tmp_path)
        shop.source._wait = wait or shop.waits.append
        made.append(shop)
        return shop

    yield make
    for shop in made:
        shop.source.close()


@pytest.fixture
def shop(make_shop: MakeShop) -> Shop:
    return make_shop()
