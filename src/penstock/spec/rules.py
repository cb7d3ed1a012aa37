"""Rules that hold between the keys of a source, a warehouse or a stream."""

from __future__ import annotations

import re
import zoneinfo

from penstock.errors import Problem
from penstock.spec import registry
from penstock.spec.hints import near, place
from penstock.spec.models import COMMON
from penstock.spec.nodes import Node, Path
from penstock.spec.problems import NOT_BUILT

_READS = ("table", "query", "files", "tables")
_ONLY_WITH = {
    "format": ("files",),
    "reupload": ("files",),
    "exclude_tables": ("tables",),
    "cursor": ("table", "query", "tables"),
    "lookback": ("table", "query", "tables"),
    "initial_value": ("table", "query", "tables"),
    "parallel": ("table", "query", "tables"),
    "where": ("table", "query", "tables"),
}
_PLACEHOLDERS = ("source", "schema", "table", "stream")


def source_problems(top: Node, file: str) -> list[Problem]:
    """Source types that are not known or not built, plug-in options they do not take, zones."""
    problems: list[Problem] = []
    sources = top.get("sources")
    for _, node in sources.items() if sources is not None else ():
        problems += _type_problems("source", node, file)
        problems += _zone(node.get("naive_timestamps"), file)
    return problems


def target_problems(top: Node, file: str) -> list[Problem]:
    """A warehouse or storage that is missing, not known, or not built."""
    warehouse, url = top.get("warehouse"), top.get("storage", "url")
    problems = [] if warehouse is None else _type_problems("warehouse", warehouse, file)
    if warehouse is None:
        fix = "remove the key for a DuckDB file, or: warehouse: {type: duckdb, path: shop.duckdb}"
        problems.append(Problem('"warehouse" is null', place(file, top.line), fix=fix))
    if url is None:
        where = _where(top, ("storage",), file)
        problems.append(Problem("storage needs url", where, fix="url: ./data"))
    return problems


def _type_problems(kind: registry.Kind, node: Node, file: str) -> list[Problem]:
    found = node.get("type")
    if found is None or not isinstance(found.value, str):
        return []
    type_, where = found.value, place(file, found.line, found.path)
    if type_ in registry.RESERVED[kind] and type_ not in registry.types(kind):
        built = ", ".join(registry.types(kind))
        return [Problem(f'the {kind} type "{type_}" {NOT_BUILT}', where, "", f"use {built}")]
    if type_ not in registry.types(kind):
        hint = near(type_, registry.types(kind))
        return [Problem(f'the {kind} type "{type_}" is not known', where, hint)]
    if type_ in registry.SOURCES or type_ in registry.WAREHOUSES:
        return []
    names = registry.option_names(kind, type_)
    return [
        Problem(f'unknown key "{key}"', place(file, child.line, child.path), near(key, names))
        for key, child in node.items()
        if names is not None and key not in names and key not in COMMON
    ]


def stream_problems(node: Node, top: Node, file: str) -> list[Problem]:
    """What one stream's keys say against each other, or against the sources."""
    problems: list[Problem] = []

    def report(keys: Path, what: str, why: str = "", fix: str = "") -> None:
        problems.append(Problem(what, _where(node, keys, file), why, fix))

    read = node.get("from")
    if read is None or not read.is_map:
        if read is None:
            report((), '"from" is missing', "", "from: {source: …, table: …}")
        return problems
    given = [key for key in (*_READS, "query_file") if read.get(key) is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} exclude each other" if given else "nothing is read"
        report(("from", *given[-1:]), said, "", "one of table, query, query_file, files, tables")
    else:
        problems += _source_fits(given[0], node, top, file)
        for key, kinds in _ONLY_WITH.items():
            if read.get(key) is not None and given[0] not in kinds:
                report(("from", key), f'"{key}" does not go with "{given[0]}"', "", "remove it")
        if node.get("on_new_table") is not None and given[0] != "tables":
            report(("on_new_table",), '"on_new_table" goes with "tables" only', "", "remove it")
    for key in ("lookback", "initial_value"):
        if read.get(key) is not None and read.get("cursor") is None:
            report(("from", key), f'"{key}" needs a cursor', "", "cursor: updated_at")
    if read.get("include") is not None and read.get("exclude") is not None:
        report(("from", "include"), "include and exclude exclude each other", "", "keep one")
    problems += _templates(node, given == ["tables"], file)
    problems += _columns(node, file)
    return problems


def _source_fits(reads: str, node: Node, top: Node, file: str) -> list[Problem]:
    source = node.text("from", "source")
    sources = top.get("sources") or Node({})
    if source is None:
        where = _where(node, ("from",), file)
        return [Problem('"source" is missing', where, fix="source: a name of sources")]
    where = _where(node, ("from", "source"), file)
    if sources.get(source) is None:
        names = [name for name, _ in sources.items()]
        return [Problem(f'there is no source "{source}"', where, near(source, names))]
    type_ = sources.text(source, "type")
    if type_ not in registry.SOURCES or (type_ == "files") == (reads == "files"):
        return []
    fits = "files: a glob" if type_ == "files" else "table, query or tables"
    what = f'"{reads}" cannot be read from {source}, a {type_} source'
    return [Problem(what, _where(node, ("from", reads), file), "", f"use {fits}")]


def _templates(node: Node, many: bool, file: str) -> list[Problem]:
    problems: list[Problem] = []
    for key in ("schema", "table"):
        template = node.text("load", key) or ""
        where = _where(node, ("load", key), file)
        for name in re.findall(r"\{([^{}]*)\}", template):
            if name not in _PLACEHOLDERS:
                what = f"{{{name}}} is no placeholder"
                problems.append(Problem(what, where, near(name, _PLACEHOLDERS)))
    table = node.text("load", "table")
    if many and table is not None and not re.search(r"\{(table|stream)\}", table):
        what = f'every table of this pattern would load "{table}"'
        fix = 'table: "{source}_{table}"'
        problems.append(Problem(what, _where(node, ("load", "table"), file), fix=fix))
    return problems


def _columns(node: Node, file: str) -> list[Problem]:
    problems: list[Problem] = []
    columns = node.get("columns") or Node({})
    made_from: dict[str, str] = {}
    for name, column in columns.items():
        where = place(file, column.line, column.path)
        if name.startswith("_penstock_"):
            what = f'"{name}" is a name that Penstock uses itself'
            problems.append(Problem(what, where, fix="another name"))
        if column.get("key") is not None and column.text("mask") != "hash":
            problems.append(Problem('"key" goes with mask: hash only', where, fix="mask: hash"))
        source = column.text("from")
        if source is not None and made_from.setdefault(source, name) != name:
            what = f'"{made_from[source]}" and "{name}" are both made from "{source}"'
            problems.append(Problem(what, where, fix="derive one of them in steps"))
        problems += _zone(column.get("timezone"), file)
    return problems


def _where(node: Node, keys: Path, file: str) -> str:
    """The place of the deepest of these keys that stands in the file."""
    for key in keys:
        node = node.get(key) or node
    return place(file, node.line, node.path)


def _zone(node: Node | None, file: str) -> list[Problem]:
    if node is None or not isinstance(node.value, str):
        return []
    known = zoneinfo.available_timezones()
    if not known or node.value in known:
        return []
    what = f'"{node.value}" is no time zone'
    return [Problem(what, place(file, node.line, node.path), near(node.value, known))]
