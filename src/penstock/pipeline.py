"""A pipeline file after resolution: what the stages read. `spec` makes these, nobody else.

Everything is frozen and travels as canonical JSON; the sha256 of that JSON is the *digest* that
plans and messages carry. Secrets and environment variables stay references (`${secret:…}`,
`${env:…}`) in here and are read when a source, warehouse or mask opens, so that a stored pipeline
holds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Write = Literal["append", "merge", "replace"]
Evolution = Literal["evolve", "freeze", "discard"]
Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One entry of `columns`: the contract of one output column."""

    name: str
    source: str | None = None
    type: str | None = None
    format: str | None = None
    timezone: str | None = None
    mask: Literal["hash", "redact"] | None = None
    key: str | None = None
    too_long: Literal["quarantine", "truncate"] = "quarantine"


@dataclass(frozen=True, slots=True)
class Step:
    """One step, in file order; `use` and `sql_file` are already expanded into the others.

    Shape: clean {trim: [names or "*"], empty_as_null: […], …} · derive {name: expression} ·
    filter {where: expression} · sql {query, rows: "keep" | "change"} · dedupe {by: […], keep: …}.
    """

    kind: Literal["clean", "derive", "filter", "sql", "dedupe"]
    options: Options
    line: int = 0


@dataclass(frozen=True, slots=True)
class Expectation:
    """One entry of `expect`: a rule that every row must keep; NULL passes, except in not_null.

    Shape: not_null {columns} · between {column, min, max} · accepted_values {column, values} ·
    matches {column, pattern} · expression {sql} · unique {columns}.
    """

    kind: Literal["not_null", "between", "accepted_values", "matches", "expression", "unique"]
    options: Options
    line: int = 0


@dataclass(frozen=True, slots=True)
class Assertion:
    """One entry of `assert`, checked over a whole run before it loads.

    Shape: unique {columns} · row_count {min, max}.
    """

    kind: Literal["unique", "row_count"]
    options: Options
    line: int = 0


@dataclass(frozen=True, slots=True)
class BadRows:
    """The error budget: a chunk with more bad rows than max(ratio x read, floor) is rejected."""

    action: Literal["quarantine", "fail", "keep"] = "quarantine"
    max_ratio: float = 0.01
    but_at_least_rows: int = 100


@dataclass(frozen=True, slots=True)
class SchemaContract:
    """What happens when a new column, or a column of another type, arrives."""

    new_columns: Evolution = "evolve"
    changed_types: Evolution = "evolve"


@dataclass(frozen=True, slots=True)
class Load:
    """Where and how rows land."""

    schema: str
    table: str
    write: Write
    dist_key: str | None = None
    sort_key: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream. A pattern (`tables`) has `tables` set and becomes many streams in `plan`.

    Units: `lookback` is seconds (int or float) for time cursors, a number otherwise.
    """

    name: str
    source: str
    load: Load
    line: int = 0
    tags: tuple[str, ...] = ()
    # read: exactly one of these
    table: str | None = None
    query: str | None = None
    files: str | None = None
    tables: tuple[str, ...] = ()
    exclude_tables: tuple[str, ...] = ()
    on_new_table: Literal["load", "report"] = "load"
    # read: narrowing
    where: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit_rows: int | None = None
    # increments
    cursor: str | None = None
    initial_value: str | None = None
    lookback: float = 0
    parallel_by: str | None = None
    slices: int = 1
    # files
    format: Options = field(default_factory=dict)
    reupload: Literal["replace", "append", "ignore"] = "replace"
    # shape
    primary_key: tuple[str, ...] = ()
    version: str | None = None
    columns: tuple[Column, ...] = ()
    steps: tuple[Step, ...] = ()
    expect: tuple[Expectation, ...] = ()
    asserts: tuple[Assertion, ...] = ()
    bad_rows: BadRows = BadRows()
    schema_contract: SchemaContract = SchemaContract()
    freshness_s: float | None = None
    vars: Mapping[str, str] = field(default_factory=dict)
    auto_write: bool = False
    """`write: auto` was asked for: with `tables`, each table's own key and cursor decide."""

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """A source: `options` holds the type's own keys, references unresolved."""

    name: str
    type: str
    options: Options = field(default_factory=dict)
    concurrency: int = 1
    naive_timestamps: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class WarehouseConfig:
    """The warehouse: duckdb {path} or postgres {host, port, database, user, password | url}."""

    type: str
    options: Options = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True, slots=True)
class Storage:
    """Where raw/, staging/, quarantine/ and journal/ live, and for how long.

    Units: seconds; None keeps for ever.
    """

    url: str
    keep_raw_s: float | None = None
    keep_staging_s: float | None = None
    keep_quarantine_s: float | None = None
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One pipeline in one environment, everything resolved but references."""

    name: str
    environment: str
    sources: tuple[SourceConfig, ...]
    warehouse: WarehouseConfig
    storage: Storage
    streams: tuple[Stream, ...]
    description: str = ""
    owner: str = ""
    protected: bool = False
    runs_on: Literal["embedded"] = "embedded"
    secrets_from: Literal["env", "file"] = "env"
    secrets_path: str | None = None
    """Where `secrets: {from: file}` finds them; None: the folder `.secrets`."""
    directory: str = "."
    """The folder of the pipeline file: relative paths in it start here. Not part of the digest."""

    def source(self, name: str) -> SourceConfig:
        return next(source for source in self.sources if source.name == name)

    def stream(self, name: str) -> Stream | None:
        return next((stream for stream in self.streams if stream.name == name), None)
