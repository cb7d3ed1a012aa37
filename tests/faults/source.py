"""A table that changes while it is read, with its whole history, as a source."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import duckdb

from penstock.model import Field, Json, Kind, Slice, Window
from penstock.pipeline import Stream
from penstock.ports import Claims, Dataset, Piece

LAG = 4
"""Ticks that a transaction may stay open."""
COLUMNS = ("k", "cur", "ver", "uid")
FIELDS = tuple(Field(name, "bigint") for name in COLUMNS)
Mode = Literal["append", "merge", "replace", "files"]


@dataclass(frozen=True, slots=True)
class Row:
    """One state of one row; `uid` tells it from every other."""

    k: int
    cur: int
    ver: int | None
    uid: int

    @property
    def values(self) -> tuple[int | None, ...]:
        return (self.k, self.cur, self.ver, self.uid)


@dataclass
class Table:
    """The source's table: rows that are visible, rows of open transactions, and the clock.

    Shape: append only inserts; merge inserts and updates; replace deletes too. A row's cursor is
    the clock when its transaction wrote it; it becomes visible at most LAG - 1 ticks later.
    """

    mode: Mode
    random: random.Random
    now: int = 10
    rows: dict[int, Row] = field(default_factory=dict)
    open: list[tuple[int, Row]] = field(default_factory=list)
    """(when it commits, row)"""
    ever: dict[int, Row] = field(default_factory=dict)
    uploads: dict[str, list[list[Row]]] = field(default_factory=dict)
    """files: the rows of each version of each path."""

    def change(self, late: bool) -> str:
        if self.mode == "files":
            return self._upload()
        uid = len(self.ever) + 1
        if self.mode == "append":
            k = uid
        else:
            k = self.random.randrange(6)
            if any(row.k == k for _, row in self.open):
                return ""
            if self.mode == "replace" and k in self.rows and self.random.random() < 0.3:
                del self.rows[k]
                return f"source: k{k} is deleted"
        version = None if k not in self.rows and self.random.random() < 0.3 else self.now // 5
        row = Row(k, self.now, version, uid)
        self.ever[uid] = row
        if late:
            at = self.now + self.random.randrange(1, LAG)
            self.open.append((at, row))
            return f"source: k{k} u{uid} cur {row.cur}, to be committed at {at}"
        self.rows[k] = row
        return f"source: k{k} u{uid} cur {row.cur}"

    def _upload(self) -> str:
        """A new file, or another version of one."""
        path = f"f{self.random.randrange(5)}"
        versions = self.uploads.setdefault(path, [])
        rows = []
        for _ in range(self.random.randrange(5)):
            row = Row(int(path[1:]), len(versions), None, len(self.ever) + 1)
            self.ever[row.uid] = row
            rows.append(row)
        versions.append(rows)
        self.rows = {row.uid: row for every in self.uploads.values() for row in every[-1]}
        uids = " ".join(f"u{row.uid}" for row in rows)
        return f"source: {path} version {len(versions) - 1}: {uids or 'no rows'}"

    def tick(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += 1
            for item in [item for item in self.open if item[0] <= self.now]:
                self.open.remove(item)
                self.rows[item[1].k] = item[1]

    def safe_bound(self, by_open_transactions: bool) -> int:
        """The cursor below which nothing can appear any more."""
        if by_open_transactions:
            return min([self.now, *(row.cur for _, row in self.open)]) - 1
        return self.now - LAG


@dataclass
class ScriptedSource:
    """Reads the table in two slices and tiny chunks, with a chance for others before each.

    Shape: `call(what, effect)` is the lockstep's; `choose` its random numbers for sizes. Every
    piece's rows are kept by its path in `pieces`.
    """

    table: Table
    random: random.Random
    call: Callable[[str, Callable[[], Any]], Any]
    connection: duckdb.DuckDBPyConnection
    resumable: bool = True
    by_open_transactions: bool = False
    bounded: bool = True
    pieces: dict[Path, list[Row]] = field(default_factory=dict)

    def check(self) -> str:
        return "scripted"

    def discover(self) -> list[Dataset]:
        return []

    def describe(self, stream: Stream) -> Dataset:
        return Dataset(stream.name, FIELDS)

    def close(self) -> None:
        """Nothing is open."""

    def plan(self, stream: Stream, kind: Kind, cursor: Json, claims: Claims) -> Window:
        return self.call("source plan", lambda: self._plan(stream, kind, cursor, claims))

    def _plan(self, stream: Stream, kind: Kind, cursor: Json, claims: Claims) -> Window:
        if stream.files is not None:
            return self._plan_files(kind, claims)
        if stream.cursor is None:
            return Window(self._slices(None, None))
        hi = self.table.safe_bound(self.by_open_transactions) if self.bounded else self.table.now
        lo = None if kind == "refresh" else cursor
        if lo is not None and not any(lo < row.cur <= hi for row in self.table.rows.values()):
            return Window((), lo, hi)
        return Window(self._slices(lo, hi), lo, hi)

    def _plan_files(self, kind: Kind, claims: Claims) -> Window:
        wanted = []
        replaces = False
        for path, versions in sorted(self.table.uploads.items()):
            version = str(len(versions) - 1)
            known = claims.versions.get(path, ())
            if kind == "refresh" or version not in known:
                wanted.append((path, version))
                replaces = replaces or (kind == "increment" and bool(known))
        groups = [wanted[start : start + 2] for start in range(0, len(wanted), 2)]
        slices = tuple(
            Slice(number, {"files": [list(item) for item in group]}, resumable=self.resumable)
            for number, group in enumerate(groups)
        )
        return Window(slices, claims=tuple(wanted), replaces=replaces)

    def _slices(self, lo: Json, hi: Json) -> tuple[Slice, ...]:
        return tuple(
            Slice(number, {"lo": lo, "hi": hi}, resumable=self.resumable) for number in range(2)
        )

    def read(self, stream: Stream, part: Slice, position: Json, folder: Path) -> Iterator[Piece]:
        if stream.files is not None:
            yield from self._read_files(part, position, folder)
            return
        number = 0
        last = False
        while not last:
            found = self.call("source read", partial(self._rows, part, position))
            size = self.random.randrange(1, 4)
            rows = found[:size]
            last = len(found) <= size and (not rows or self.random.random() < 0.7)
            position = [rows[-1].cur, rows[-1].k] if rows else position
            path = folder / f"{part.number}-{number}.parquet"
            number += 1
            self._write(path, rows)
            self.pieces[path] = rows
            yield Piece(path, len(rows), FIELDS, position, last)

    def _read_files(self, part: Slice, position: Json, folder: Path) -> Iterator[Piece]:
        """A piece never spans two files; position is [file, rows read of it]."""
        files = part.spec["files"]
        at, done = position or (0, 0)
        while at < len(files):
            path, version = files[at]
            rows = self.call("source read", partial(self._version, path, version))[done:]
            rows, left = rows[: (size := self.random.randrange(1, 4))], len(rows) > size
            at, done = (at, done + len(rows)) if left else (at + 1, 0)
            file = folder / f"{part.number}-{at}-{done}.parquet"
            self._write(file, rows)
            self.pieces[file] = rows
            yield Piece(file, len(rows), FIELDS, [at, done], at == len(files), origin=path)

    def _version(self, path: str, version: str) -> list[Row]:
        return self.table.uploads[path][int(version)]

    def _rows(self, part: Slice, position: Json) -> list[Row]:
        lo, hi = part.spec["lo"], part.spec["hi"]
        after = tuple(position) if position is not None else (-1, -1)
        if hi is None:
            after = (after[1],)
        return sorted(
            (
                row
                for row in self.table.rows.values()
                if row.k % 2 == part.number
                and (lo is None or row.cur > lo)
                and (hi is None or row.cur <= hi)
                and (after < ((row.k,) if hi is None else (row.cur, row.k)))
            ),
            key=lambda row: row.k if hi is None else (row.cur, row.k),  # type: ignore[return-value]
        )

    def _write(self, path: Path, rows: list[Row]) -> None:
        body = json.dumps([dict(zip(COLUMNS, row.values, strict=True)) for row in rows])
        shape = "[{" + ", ".join(f'"{name}": "BIGINT"' for name in COLUMNS) + "}]"
        self.connection.execute(
            f"COPY (SELECT unnest(from_json('{body}', '{shape}'), recursive := true)) "
            f"TO '{path}' (FORMAT parquet)"
        )
