"""Small staged chunks, as transform would leave them, and requests to load them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from penstock.engine import literal, quote
from penstock.model import (
    ChunkId,
    Commit,
    Contract,
    Counts,
    Field,
    File,
    LoadRequest,
    Plan,
    Staged,
    StreamKey,
    Target,
    Window,
)

if TYPE_CHECKING:
    import duckdb

STREAM = "orders"
COLUMNS: Mapping[str, str] = {"id": "bigint", "note": "varchar"}
AT = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StagedFolder:
    """Makes chunks below `folder`, in files named and laid out as in a store."""

    folder: Path
    connection: duckdb.DuckDBPyConnection

    def chunk(
        self,
        rows: Sequence[Sequence[Any]],
        columns: Mapping[str, str] = COLUMNS,
        *,
        run: int = 1,
        number: int = 0,
        part: int = 0,
        generation: int = 0,
        version: int = 1,
        origin: str = "",
        merge: bool = False,
    ) -> Staged:
        """A staged chunk of these rows; its run's seq is `run`. Of no rows, one without files."""
        chunk = ChunkId(STREAM, run_id(run), part, "", number)
        fields = tuple(Field(name, kind) for name, kind in columns.items())
        commit = Commit(
            chunk, generation, "digest", version, Counts(len(rows), len(rows)), (), (), fields,
            origin=origin,
        )  # fmt: skip
        if not rows:
            return Staged(commit, run, ())
        book = {"_penstock_chunk": "varchar", "_penstock_seq": "bigint"}
        values: tuple[Any, ...] = (str(chunk), run)
        if merge:
            book |= {"_penstock_gen": "integer", "_penstock_row": "bigint"}
        if origin:
            book["_penstock_file"] = "varchar"
        written = [
            (*row, *values, *((generation, place) if merge else ()), *((origin,) if origin else ()))
            for place, row in enumerate(rows)
        ]
        path = self._write({**columns, **book}, written, f"{run}-{part}-{number}-g{generation}")
        file = File(str(path), "", path.stat().st_size, len(rows))
        return Staged(replace(commit, good=(file,)), run, (str(path),))

    def _write(self, columns: Mapping[str, str], rows: Sequence[Sequence[Any]], name: str) -> Path:
        folder = self.folder / "ingest_date=2026-11-23" / "source=shop [1]"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}-{len(list(folder.iterdir()))}.parquet"
        names = [f"c{place}" for place in range(len(columns))]
        cast = ", ".join(
            f"CAST({name} AS {kind}) AS {quote(column)}"
            for name, (column, kind) in zip(names, columns.items(), strict=True)
        )
        width = len(columns)
        marks = ", ".join(
            "(" + ", ".join(f"${row * width + place + 1}" for place in range(width)) + ")"
            for row in range(len(rows))
        )
        self.connection.execute(
            f"COPY (SELECT {cast} FROM (VALUES {marks}) v({', '.join(names)})) "
            f"TO {literal(str(path))} (FORMAT parquet)",
            [value for row in rows for value in row],
        )
        return path


def run_id(run: int) -> str:
    return f"20261123T06{run:02d}00-9f2c41aa"


def target(
    table: str = "orders",
    write: Literal["append", "merge", "replace"] = "append",
    reupload: Literal["replace", "append", "ignore"] = "append",
    primary_key: tuple[str, ...] = (),
    version: str | None = None,
) -> Target:
    if write == "merge" and not primary_key:
        primary_key = ("id",)
    return Target(
        STREAM, "analytics", table, write, primary_key, version=version, reupload=reupload
    )


def request(
    to: Target, *chunks: Staged, swap: Plan | None = None, load_id: str = "l"
) -> LoadRequest:
    """A request of these chunks, under the newest contract among them."""
    newest = max(chunks, key=lambda staged: staged.commit.contract_version, default=None)
    columns = newest.commit.columns if newest else ()
    version = newest.commit.contract_version if newest else 1
    return LoadRequest(load_id, to, Contract(version, columns), chunks, swap)


def plan(run: int, *, paths: Sequence[str] = (), swap: bool = True) -> Plan:
    """A run that replaces the whole table, or the rows of these paths."""
    return Plan(
        run_id=run_id(run),
        key=StreamKey("shop", "dev", "w", STREAM),
        seq=run,
        kind="increment" if paths else "refresh",
        digest="digest",
        planned_at=AT,
        trigger_ids=("t",),
        window=Window((), claims=tuple((path, "v2") for path in paths), replaces=bool(paths)),
        source="shop",
        contract_version=1,
        swap=swap,
        scope="files" if paths else "table",
    )
