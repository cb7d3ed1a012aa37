"""Assertions: what must hold over the good rows of a whole run before it loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.engine import connect, literal, quote
from penstock.model import Counts
from penstock.pipeline import Assertion, Stream


@dataclass(frozen=True, slots=True)
class AssertionFailed:
    """An assertion that does not hold, and what was found; `line` is the pipeline file's."""

    kind: str
    what: str
    line: int = 0


def check_assertions(
    stream: Stream, paths: Sequence[str], counts: Counts, folder: Path
) -> tuple[AssertionFailed, ...]:
    """Every assertion of the stream that does not hold over these staged files."""
    checks = {"unique": _unique, "row_count": _row_count}
    failed = []
    for rule in stream.asserts:
        what = checks[rule.kind](rule, paths, counts, folder)
        if what:
            failed.append(AssertionFailed(rule.kind, what, rule.line))
    return tuple(failed)


def _row_count(rule: Assertion, paths: Sequence[str], counts: Counts, folder: Path) -> str:  # noqa: ARG001
    low, high = rule.options.get("min"), rule.options.get("max")
    if low is not None and counts.good < low:
        return f"{counts.good:,} good rows, at least {low:,} are asserted"
    if high is not None and counts.good > high:
        return f"{counts.good:,} good rows, at most {high:,} are asserted"
    return ""


def _unique(rule: Assertion, paths: Sequence[str], counts: Counts, folder: Path) -> str:  # noqa: ARG001
    """NULL is no value: rows with one are not compared."""
    if not paths:
        return ""
    names = rule.options["columns"]
    names = [names] if isinstance(names, str) else list(names)
    columns = ", ".join(quote(name) for name in names)
    whole = " AND ".join(f"{quote(name)} IS NOT NULL" for name in names)
    text = ", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in names)
    files = ", ".join(literal(path) for path in paths)
    folders = [folder, *{Path(path).parent for path in paths}]
    with connect(folders) as connection:
        row = connection.execute(
            f"SELECT count(*), min(shown) FROM (SELECT concat_ws(', ', {text}) AS shown "
            f"FROM read_parquet([{files}], union_by_name = true) WHERE {whole} "
            f"GROUP BY {columns} HAVING count(*) > 1)"
        ).fetchone()
    assert row is not None
    if not row[0]:
        return ""
    return f"{row[0]:,} values of {', '.join(names)} are there more than once, e.g. {row[1]}"
