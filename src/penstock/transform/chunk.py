"""A raw chunk becomes one file of good rows, one of quarantined rows, and sums that hold.

The good rows are written in one pass; if that pass wrote fewer rows than it read, a second one
looks for the bad rows alone. Where a step may answer otherwise the second time (`random()`, a
query with windows), the outcome of every row is kept in a temporary table first and both files
are written from it, so that no row is in both files or in none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.engine import literal, quote
from penstock.errors import Rejected, Transient
from penstock.model import Contract, Counts, Field, Link
from penstock.pipeline import Stream
from penstock.transform.columns import CURSOR, ROW
from penstock.transform.compile import (
    CAST,
    CHECKED,
    JUDGED,
    OK,
    Compiled,
    all_hold,
    compile_chunk,
    missing_columns,
    run,
    short,
    step_name,
)
from penstock.transform.determinism import repeatable
from penstock.transform.jsonraw import settled_fields
from penstock.transform.masks import read_keys
from penstock.transform.quarantine import BAD, failures, quarantine_query
from penstock.transform.steps import FIRST, changes_rows, place

if TYPE_CHECKING:
    import duckdb

OUT = "_penstock_out"
_GOOD, _BAD, _DOUBLE = 0, 1, 2
_PARQUET = (
    "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, "
    "ROW_GROUP_SIZE 122880, PARQUET_VERSION v1"
)


@dataclass(frozen=True, slots=True)
class LocalFile:
    path: Path
    rows: int


@dataclass(frozen=True, slots=True)
class Transformed:
    """What became of a chunk.

    Shape: `columns` are those of the good file, bookkeeping columns too; `contract` is the one
    that was used, of a higher version if this chunk needed a change; `rules` counts bad rows by
    the first rule they broke.
    """

    good: tuple[LocalFile, ...]
    quarantine: tuple[LocalFile, ...]
    counts: Counts
    rules: Mapping[str, int]
    columns: tuple[Field, ...]
    contract: Contract
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Work:
    """One chunk on its way: the connection, what it is compiled to, and where files go."""

    connection: duckdb.DuckDBPyConnection
    compiled: Compiled
    link: Link
    source: str
    folder: Path
    generation: int
    seq: int
    at: datetime

    @property
    def stream(self) -> Stream:
        return self.compiled.stream

    def path(self, kind: str) -> Path:
        chunk = self.link.chunk
        name = f"{chunk.run_id}-{chunk.slice:04d}-{chunk.number:06d}-g{self.generation}"
        return self.folder / f"{name}.{kind}.parquet"

    def run(self, sql: str) -> duckdb.DuckDBPyConnection:
        return run(self.connection, sql, self.compiled.parameters)

    def count(self, sql: str) -> int:
        row = self.run(sql).fetchone()
        assert row is not None
        return int(row[0])

    def copy(self, select: str, path: Path) -> int:
        """The rows are in a Parquet file; how many."""
        return self.count(f"COPY (\n{select}\n) TO {literal(str(path))} ({_PARQUET})")


def transform_chunk(
    connection: duckdb.DuckDBPyConnection,
    stream: Stream,
    link: Link,
    raw: Path,
    contract: Contract | None,
    folder: Path,
    *,
    generation: int,
    seq: int,
    read_reference: Callable[[str], str],
    at: datetime,
) -> Transformed:
    """Every row of the raw file is good, quarantined, filtered or deduplicated, and counted.

    Raises: Rejected for too many bad rows, a frozen contract, or a step that fails.
    Transient if memory or disk ran out.
    """
    import duckdb

    where = f"{stream.name} -> {stream.load.target}, chunk {link.chunk}"
    parameters = {**stream.vars, **read_keys(stream, read_reference)}
    try:
        physical = raw_columns(connection, raw)
        source = raw_source(raw, physical)
        fields = settled_fields(connection, stream, link.fields, contract, source)
        compiled = compile_chunk(
            connection,
            stream if fields else _bare(stream),
            fields,
            physical,
            contract,
            parameters,
        )
    except duckdb.Error as error:
        raise Rejected(f"SQL: {short(error)}", where=where) from error
    work = Work(connection, compiled, link, source, folder, generation, seq, at)
    try:
        return _transformed(work)
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InterruptException) as error:
        raise Transient(f"transform stopped: {short(error)}", where=where) from error
    except duckdb.Error as error:
        raise Rejected(
            f"chunk rejected: {short(error)}",
            where=f"{blame(work)}; {where}",
            fix="let the expression give NULL for such values: try_cast(…), try(…)",
        ) from error


def blame(work: Work) -> str:
    """The step or rule that fails on this chunk's rows; empty if none does alone."""
    import duckdb

    compiled = work.compiled
    tries = [
        (place(work.stream, step), f"max(hash(rows)) FROM {step_name(number)} AS rows")
        for number, step in enumerate(work.stream.steps, 1)
    ]
    tries += [
        (rule.where, f"bool_and({rule.holds}) FROM {CHECKED}") for rule in compiled.rule_checks
    ]
    for where, select in tries:
        try:
            work.run(compiled.statement(work.source, f"SELECT {select}"))
        except duckdb.Error:
            return where
    return work.stream.name


def _bare(stream: Stream) -> Stream:
    """The stream for a file of which nothing could be read: all its rows are errors.

    Why: what the stream says of its columns would reject the chunk, and hide the reason.
    """
    return replace(stream, columns=(), steps=(), expect=(), primary_key=())


def raw_columns(connection: duckdb.DuckDBPyConnection, raw: Path) -> dict[str, str]:
    """The raw file's columns with DuckDB's types."""
    rows = connection.execute(f"DESCRIBE FROM read_parquet({literal(str(raw))})").fetchall()
    return {row[0]: row[1] for row in rows}


def raw_source(raw: Path, physical: Mapping[str, str]) -> str:
    """A query for the raw rows, each with its number in the file, from 0."""
    number = "file_row_number"
    if number in {name.casefold() for name in physical}:
        number = "row_number() OVER () - 1"
    return (
        f"SELECT *, {number} AS {ROW}{missing_columns(physical)} "
        f"FROM read_parquet({literal(str(raw))})"
    )


def staged_columns(
    compiled: Compiled, link: Link, generation: int, seq: int
) -> dict[str, tuple[str, str]]:
    """The columns of a good file: name -> SQL over `judged`, and logical type."""
    stream = compiled.stream
    made = {output.name: (output.sql, output.type) for output in compiled.outputs}
    made["_penstock_chunk"] = (literal(str(link.chunk)), "varchar")
    made["_penstock_seq"] = (f"CAST({seq} AS BIGINT)", "bigint")
    if stream.load.write == "merge":
        made["_penstock_gen"] = (f"CAST({generation} AS INTEGER)", "integer")
        made[ROW] = (ROW, "bigint")
    if stream.cursor is not None:
        made[CURSOR] = (compiled.cursor.sql, compiled.cursor.type)
    if stream.files is not None:
        made["_penstock_file"] = (literal(link.origin), "varchar")
    return made


def _transformed(work: Work) -> Transformed:
    read = work.count(f"SELECT count(*) FROM ({work.source})")
    work.connection.execute("BEGIN")  # now() is one moment for all statements of the chunk
    try:
        refuse_doubles(work)
        made = _in_one_pass(work, read)
        return made if made is not None else _in_two_files(work, read)
    finally:
        work.connection.execute("ROLLBACK")


def refuse_doubles(work: Work) -> None:
    """Raises: Rejected if a query that should keep rows apart gives one of them twice."""
    for number, step in enumerate(work.stream.steps, 1):
        if step.kind != "sql" or changes_rows(step):
            continue
        select = f"SELECT count(*) - count(DISTINCT {ROW}) FROM {step_name(number)}"
        doubles = work.count(work.compiled.statement(work.source, select))
        if doubles:
            raise Rejected(
                f"this query gives {doubles:,} rows more than once",
                where=place(work.stream, step),
                why="joins and unnest make several rows of one",
                fix="say rows: change",
            )


def _in_one_pass(work: Work, read: int) -> Transformed | None:
    """The good rows are written as they are made; None if what became of the others is open."""
    compiled = work.compiled
    checked = bool(compiled.type_checks or compiled.rule_checks)
    loses = compiled.drops_rows and (checked or bool(compiled.deduplicated))
    again = loses and repeatable(work.connection, compiled.stream)
    if loses and not again:
        return None
    path = work.path("good")
    good = work.copy(_good_rows(work), path)
    if not loses and (good == read or not checked):
        return _made(work, Counts(read, good, 0, read - good), path, {})
    if not again and not repeatable(work.connection, compiled.stream):
        path.unlink()
        return None
    broken = f"SELECT {ROW}, {_failed(work)} AS failed FROM {JUDGED} WHERE NOT {OK}"
    missing = None if compiled.drops_rows else read - good
    collect_bad(work, compiled.statement(work.source, broken), missing)
    doubles = sum(
        work.count(
            compiled.statement(work.source, f"SELECT count(*) FROM {name} WHERE NOT {FIRST}")
        )
        for name in compiled.deduplicated
    )
    counts, rules = tally(work, read, good, doubles)
    return _with_bad(work, counts, rules, path)


def _good_rows(work: Work) -> str:
    staged = staged_columns(work.compiled, work.link, work.generation, work.seq)
    listed = ", ".join(f"{sql} AS {quote(name)}" for name, (sql, _) in staged.items())
    where = f" WHERE {OK}" if work.compiled.rule_checks else ""
    return work.compiled.statement(work.source, f"SELECT {listed} FROM {JUDGED}{where}")


def _made(work: Work, counts: Counts, good: Path, rules: Mapping[str, int]) -> Transformed:
    staged = staged_columns(work.compiled, work.link, work.generation, work.seq)
    columns = tuple(Field(name, kind) for name, (_, kind) in staged.items())
    if not counts.good:
        good.unlink(missing_ok=True)
    return Transformed(
        (LocalFile(good, counts.good),) if counts.good else (),
        (LocalFile(work.path("quarantine"), counts.quarantined),) if counts.quarantined else (),
        counts,
        rules,
        columns,
        work.compiled.contract,
        work.compiled.notes,
    )


def _in_two_files(work: Work, read: int) -> Transformed:
    """Good and bad rows, both written from what was decided once."""
    good, doubles = decide(work)
    counts, rules = tally(work, read, good, doubles)
    path = work.path("good")
    if good:
        staged = staged_columns(work.compiled, work.link, work.generation, work.seq)
        listed = ", ".join(quote(name) for name in staged)
        work.copy(f"SELECT {listed} FROM {OUT} WHERE fate = {_GOOD}", path)
    return _with_bad(work, counts, rules, path)


def _with_bad(work: Work, counts: Counts, rules: Mapping[str, int], good: Path) -> Transformed:
    _keep_to_budget(work, counts)
    if counts.quarantined:
        work.copy(quarantined_rows(work), work.path("quarantine"))
    return _made(work, counts, good, rules)


def tally(work: Work, read: int, good: int, doubles: int) -> tuple[Counts, Mapping[str, int]]:
    """The sums of the chunk, and bad rows by the first rule that each broke."""
    rules = dict(
        work.run(f"SELECT failed[1].rule, count(*) FROM {BAD} GROUP BY 1 ORDER BY 1").fetchall()
    )
    bad = sum(rules.values())
    return Counts(read, good, bad, read - good - bad - doubles, doubles), rules


def decide(work: Work) -> tuple[int, int]:
    """The fate of every row that reached the end, or was a double, is kept; how many of each.

    Shape: the temporary table OUT has those rows, BAD every bad row with what is wrong with it.
    """
    compiled = work.compiled
    staged = staged_columns(compiled, work.link, work.generation, work.seq)
    listed = [f"{sql} AS {quote(name)}" for name, (sql, _) in staged.items()]
    hidden = f"{ROW} AS place, CASE WHEN {OK} THEN {_GOOD} ELSE {_BAD} END AS fate"
    told = f"CASE WHEN NOT {OK} THEN {_failed(work)} END AS failed"
    select = f"SELECT {', '.join([*listed, hidden, told])} FROM {JUDGED}"
    for name in compiled.deduplicated:
        select += (
            f"\nUNION ALL BY NAME SELECT {ROW} AS place, {_DOUBLE} AS fate FROM {name} "
            f"WHERE NOT {FIRST}"
        )
    work.run(f"CREATE OR REPLACE TEMP TABLE {OUT} AS\n{compiled.statement(work.source, select)}")
    made = "CAST(NULL AS VARCHAR)"
    if compiled.changes_rows:
        own = ", ".join(f"{literal(o.name)}: {quote(o.name)}" for o in compiled.outputs)
        made = f"CAST(to_json({{{own}}}) AS VARCHAR)"
    collect_bad(
        work, f"SELECT place AS {ROW}, failed, {made} AS made FROM {OUT} WHERE fate = {_BAD}", None
    )
    fates = dict(work.run(f"SELECT fate, count(*) FROM {OUT} GROUP BY ALL").fetchall())
    return fates.get(_GOOD, 0), fates.get(_DOUBLE, 0)


def _failed(work: Work) -> str:
    return failures(work.stream, work.compiled.rule_checks)


def collect_bad(work: Work, broken: str, missing: int | None) -> None:
    """The temporary table BAD has every bad row: the `broken` ones, and those that do not fit.

    Shape: `missing` is how many there are, if that is known: the search ends with the last.
    """
    compiled, checks = work.compiled, work.compiled.type_checks
    work.run(
        f"CREATE OR REPLACE TEMP TABLE {BAD} ({ROW} BIGINT, made VARCHAR, failed "
        'STRUCT("rule" VARCHAR, "column" VARCHAR, "value" VARCHAR, reason VARCHAR)[])'
    )
    found = 0
    if compiled.rule_checks:
        found = work.count(f"INSERT INTO {BAD} BY NAME FROM ({broken})")
    if checks and (missing is None or found < missing):
        failed = failures(work.stream, checks)
        unfit = f"SELECT {ROW}, {failed} AS failed FROM {CAST} WHERE NOT ({all_hold(checks)})"
        work.run(f"INSERT INTO {BAD} BY NAME FROM ({compiled.statement(work.source, unfit)})")


def quarantined_rows(work: Work) -> str:
    """The query for the quarantine file, over the table BAD."""
    return quarantine_query(
        work.stream,
        work.compiled.typed,
        work.source,
        chunk=work.link.chunk,
        origin=work.link.origin,
        generation=work.generation,
        at=work.at,
        malformed=True,
    )


def _keep_to_budget(work: Work, counts: Counts) -> None:
    """Raises: Rejected if there are more bad rows than the stream allows."""
    rule = work.stream.bad_rows
    allowed = max(rule.but_at_least_rows, int(rule.max_ratio * counts.read))
    if rule.action == "fail":
        allowed = 0
    if counts.quarantined <= allowed:
        return
    worst = work.run(
        f"SELECT COALESCE(failed[1].column, ''), failed[1].reason, count(*) AS rows, "
        f"min(failed[1].value) FROM {BAD} GROUP BY 1, 2 ORDER BY rows DESC, 1, 2 LIMIT 3"
    ).fetchall()
    told = "; ".join(
        f"{rows:,} x {column or 'row'} {reason}" + (f', e.g. "{value[:80]}"' if value else "")
        for column, reason, rows, value in worst
    )
    limit = "bad_rows.action is fail" if not allowed else f"bad_rows allows {allowed:,}"
    raise Rejected(
        f"chunk rejected: {counts.quarantined:,} of {counts.read:,} rows are bad, and {limit}",
        where=f"{work.stream.name} -> {work.stream.load.target}, chunk {work.link.chunk}",
        why=told,
        fix=f"correct the data, the columns or the rules, or raise bad_rows; "
        f"then: penstock dlq redrive {work.stream.name}",
    )
