"""What a folder offers: its files in groups, each with a pattern and types to propose."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.engine import literal, quote
from penstock.model import Field, Json
from penstock.sources.files_root import Entry

if TYPE_CHECKING:
    import duckdb

DATES = (
    (re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)"), "%Y-%m-%d"),
    (re.compile(r"(?<!\d)\d{4}_\d{2}_\d{2}(?!\d)"), "%Y_%m_%d"),
    (re.compile(r"(?<!\d)(?:19|20)\d{6}(?!\d)"), "%Y%m%d"),
    (re.compile(r"(?<!\d)(?:19|20)\d{2}-\d{2}(?!\d)"), "%Y-%m"),
)
RANDOM = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-f]{16,}")
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y%m%d")


def grouped(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The files by pattern: dates are `{date:…}`, other numbers `*`, folders alike `{folder}`."""
    groups: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[tuple(_general(part) for part in entry.path.split("/"))].append(entry)
    depth = max((len(parts) for parts in groups), default=0)
    for level in range(depth - 1):
        groups = _folders_together(groups, level)
    return {
        _numbered(
            "/".join(parts) if len(found) > 1 or "{" in "".join(parts) else _exact(found)
        ): found
        for parts, found in groups.items()
    }


def _exact(entries: Sequence[Entry]) -> str:
    return re.sub(r"[*?{}]", "?", entries[0].path)


def _general(part: str) -> str:
    """A part of a path, with what varies from file to file left open."""
    part = RANDOM.sub("*", re.sub(r"[*?{}]", "?", part))
    hive = re.fullmatch(r"([A-Za-z_]\w*)=.+", part)
    if hive:
        return f"{hive[1]}={{{hive[1]}}}"
    for found, form in DATES:
        match = found.search(part)
        if match and _is_date(match[0], form):
            before, after = part[: match.start()], part[match.end() :]
            return f"{_stars(before)}{{date:{form}}}{_stars(after)}"
    return _stars(part)


def _stars(text: str) -> str:
    return re.sub(r"\d+", "*", text)


def _is_date(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007
    except ValueError:
        return False
    return True


def _folders_together(
    groups: dict[tuple[str, ...], list[Entry]], level: int
) -> dict[tuple[str, ...], list[Entry]]:
    """Groups that differ only in the folder at `level` are one."""
    alike: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for parts in groups:
        if len(parts) > level + 1:
            alike[(*parts[:level], "", *parts[level + 1 :])].append(parts)
    for parts, members in alike.items():
        if len(members) > 1:
            together = [entry for member in members for entry in groups.pop(member)]
            groups[(*parts[:level], "{folder}", *parts[level + 1 :])] = together
    return groups


def _numbered(pattern: str) -> str:
    """The pattern with `{date}` and `{folder}` parts told apart by numbers."""
    seen: dict[str, int] = defaultdict(int)

    def name(match: re.Match[str]) -> str:
        seen[match[1]] += 1
        return match[0] if seen[match[1]] == 1 else f"{{{match[1]}_{seen[match[1]]}{match[2]}}}"

    return re.sub(r"\{(\w+)([^}]*)\}", name, pattern)


def name_of(pattern: str, taken: Iterable[str]) -> str:
    """A stream's name for a pattern: what its file names have in common."""
    stem = re.split(r"[.{*?]", pattern.rpartition("/")[2], maxsplit=1)[0]
    stem = stem or re.split(r"[{*?]", pattern, maxsplit=1)[0] or "files"
    name = base = re.sub(r"\W+", "_", stem).strip("_").lower() or "files"
    count, used = 1, set(taken)
    while name in used:
        count += 1
        name = f"{base}_{count}"
    return name


def proposed_types(
    connection: duckdb.DuckDBPyConnection, part: Path, fields: Sequence[Field]
) -> dict[str, dict[str, Json]]:
    """A type, and a date format where it takes one, for each text column whose values all fit."""
    texts = [field.name for field in fields if field.type == "varchar" and field.path is None]
    table = f"read_parquet({literal(str(part))})"
    present = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()}
    proposals: dict[str, dict[str, Json]] = {}
    for name in texts:
        if name in present and (found := _proposal(connection, table, quote(name))):
            proposals[name] = found
    return proposals


def _proposal(
    connection: duckdb.DuckDBPyConnection, table: str, column: str
) -> dict[str, Json] | None:
    tests = {
        "boolean": f"lower({column}) IN ('true', 'false')",
        "bigint": rf"regexp_full_match({column}, '-?(0|[1-9]\d{{0,17}})')",
        "decimal": rf"regexp_full_match({column}, '-?(0|[1-9]\d{{0,11}})(\.\d{{1,6}})?')",
        "comma": rf"regexp_full_match({column}, '-?(0|[1-9]\d{{0,11}})(,\d{{1,6}})?')",
        "double": rf"regexp_full_match({column}, '-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?')",
        "date": rf"regexp_full_match({column}, '\d{{4}}-\d{{2}}-\d{{2}}')"
        f" AND TRY_CAST({column} AS DATE) IS NOT NULL",
        "timestamp": rf"regexp_full_match({column}, '\d{{4}}-\d{{2}}-\d{{2}}[ T]\d{{2}}:.*')"
        f" AND TRY_CAST({column} AS TIMESTAMP) IS NOT NULL",
    }
    for form in DATE_FORMATS:
        tests[form] = f"try_strptime({column}, {literal(form)}) IS NOT NULL"
    row = connection.execute(
        f"SELECT count({column}), max(strlen(regexp_extract({column}, '[.,](\\d+)$', 1))),"
        rf" bool_or(regexp_matches({column}, '(Z|[+-]\d{{2}}:?\d{{2}})$')),"
        + ", ".join(f"bool_and({test})" for test in tests.values())
        + f" FROM {table}"
    ).fetchone()
    assert row is not None
    if not row[0]:
        return None
    kind = next((kind for kind, fits in zip(tests, row[3:], strict=True) if fits), None)
    if kind is None:
        return None
    if kind in ("decimal", "comma"):
        return {"type": f"decimal(18,{row[1]})", **({"decimal": ","} if kind == "comma" else {})}
    if kind == "timestamp":
        return {"type": "timestamptz" if row[2] else "timestamp"}
    return {"type": "date", "format": kind} if kind in DATE_FORMATS else {"type": kind}
