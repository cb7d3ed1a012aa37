"""Assertions over a whole run, checked on its staged rows before any of them loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penstock.engine import connect, literal, quote
from penstock.errors import Problem
from penstock.model import Counts
from penstock.pipeline import Assertion, Stream


def check_assertions(
    stream: Stream, paths: Sequence[Path], counts: Counts, folder: Path
) -> list[Problem]:
    """What the run fails, with an example; empty if every assertion holds."""
    problems = []
    for assertion in stream.asserts:
        if assertion.kind == "row_count":
            problem = _row_count(stream, assertion, counts)
        else:
            problem = _unique(stream, assertion, paths, folder)
        if problem is not None:
            problems.append(problem)
    return problems


def _row_count(stream: Stream, assertion: Assertion, counts: Counts) -> Problem | None:
    least, most = assertion.options.get("min"), assertion.options.get("max")
    if (least is None or counts.good >= least) and (most is None or counts.good <= most):
        return None
    bounds = " and ".join(
        text
        for text in (
            f"at least {least:,}" if least is not None else "",
            f"at most {most:,}" if most is not None else "",
        )
        if text
    )
    return _problem(stream, assertion, f"{counts.good:,} good rows, {bounds} are promised")


def _unique(
    stream: Stream, assertion: Assertion, paths: Sequence[Path], folder: Path
) -> Problem | None:
    columns = [str(column) for column in assertion.options["columns"]]
    if not paths:
        return None
    files = ", ".join(literal(str(path)) for path in paths)
    names = ", ".join(quote(column) for column in columns)
    filled = " AND ".join(f"{quote(column)} IS NOT NULL" for column in columns)
    sql = (
        f"SELECT count(*) OVER (), n, {names} FROM (SELECT count(*) AS n, {names} "
        f"FROM read_parquet([{files}], union_by_name = true) WHERE {filled} GROUP BY {names} "
        "HAVING count(*) > 1) ORDER BY n DESC LIMIT 1"
    )
    with connect([folder, *{path.parent for path in paths}]) as connection:
        found = connection.execute(sql).fetchone()
    if found is None:
        return None
    example = ", ".join(f"{c} {value!r}" for c, value in zip(columns, found[2:], strict=True))
    return _problem(
        stream,
        assertion,
        f"{found[0]:,} values of {', '.join(columns)} stand more than once, "
        f"e.g. {example} {found[1]:,} times",
    )


def _problem(stream: Stream, assertion: Assertion, why: str) -> Problem:
    return Problem(
        f"the run of {stream.name} is held: assertion {assertion.kind} fails",
        where=f"pipeline.yaml:{assertion.line}" if assertion.line else stream.name,
        why=why,
        fix=f"correct the source or the file, then: penstock replay {stream.name}",
    )
