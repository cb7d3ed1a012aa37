"""Rules that hold between the keys of a source, a warehouse or a stream."""

from __future__ import annotations

import re
import zoneinfo

from penstock.errors import Problem
from penstock.spec import registry
from penstock.spec.hints import near, place
from penstock.spec.models import COMMON
from penstock.spec.nodes import Node
from penstock.spec.problems import NOT_BUILT
from penstock.spec.stream_models import StreamModel

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


def warehouse_problems(top: Node, file: str) -> list[Problem]:
    """A warehouse type that is not known or not built, plug-in options it does not take."""
    node = top.get("warehouse")
    return _type_problems("warehouse", node, file) if node is not None else []


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


def stream_problems(model: StreamModel, node: Node, top: Node, file: str) -> list[Problem]:
    """What one stream's keys say against each other, or against the sources."""
    problems: list[Problem] = []

    def report(keys: tuple[str, ...], what: str, why: str = "", fix: str = "") -> None:
        found = node
        for key in keys:
            found = found.get(key) or found
        problems.append(Problem(what, place(file, found.line, found.path), why, fix))

    read = model.from_
    if read is None:
        report((), '"from" is missing', "", "from: {source: …, table: …}")
        return problems
    given = [key for key in (*_READS, "query_file") if getattr(read, key) is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} exclude each other" if given else "nothing is read"
        report(("from", *given[-1:]), said, "", "one of table, query, query_file, files, tables")
        return problems
    problems += _source_fits(read.source, given[0], node, top, file)
    for key, kinds in _ONLY_WITH.items():
        if getattr(read, key) is not None and given[0] not in kinds:
            report(("from", key), f'"{key}" does not go with "{given[0]}"', "", "remove it")
    if model.on_new_table is not None and given[0] != "tables":
        report(("on_new_table",), '"on_new_table" goes with "tables" only', "", "remove it")
    for key in ("lookback", "initial_value"):
        if getattr(read, key) is not None and read.cursor is None:
            report(("from", key), f'"{key}" needs a cursor', "", "cursor: updated_at")
    if read.include is not None and read.exclude is not None:
        report(("from", "include"), "include and exclude exclude each other", "", "keep one")
    problems += _templates(model, node, given[0], file)
    problems += _columns(model, node, file)
    return problems


def _source_fits(source: str | None, reads: str, node: Node, top: Node, file: str) -> list[Problem]:
    read = node.get("from") or node
    sources = top.get("sources") or Node({})
    if source is None:
        where = place(file, read.line, (*read.path, "source"))
        return [Problem('"source" is missing', where, near("", ()), "source: a name of sources")]
    named = read.get("source") or read
    where = place(file, named.line, named.path)
    if sources.get(source) is None:
        names = [name for name, _ in sources.items()]
        return [Problem(f'there is no source "{source}"', where, near(source, names))]
    type_ = sources.text(source, "type")
    if type_ not in registry.SOURCES or (type_ == "files") == (reads == "files"):
        return []
    child = read.get(reads) or read
    fits = "files: a glob" if type_ == "files" else "table, query or tables"
    what = f'"{reads}" cannot be read from {source}, a {type_} source'
    return [Problem(what, place(file, child.line, child.path), "", f"use {fits}")]


def _templates(model: StreamModel, node: Node, reads: str, file: str) -> list[Problem]:
    problems: list[Problem] = []
    for key in ("schema", "table"):
        found = node.get("load", key)
        if found is None or not isinstance(found.value, str):
            continue
        where = place(file, found.line, found.path)
        for name in re.findall(r"\{([^{}]*)\}", found.value):
            if name not in _PLACEHOLDERS:
                what = f"{{{name}}} is no placeholder"
                problems.append(Problem(what, where, near(name, _PLACEHOLDERS)))
    table = model.load.table if model.load is not None else None
    if reads == "tables" and table is not None and not re.search(r"\{(table|stream)\}", table):
        found = node.get("load", "table") or node
        where = place(file, found.line, found.path)
        what = f'every table of this pattern would load "{table}"'
        problems.append(Problem(what, where, fix='table: "{source}_{table}"'))
    return problems


def _columns(model: StreamModel, node: Node, file: str) -> list[Problem]:
    problems: list[Problem] = []
    for name, column in (model.columns or {}).items():
        entry = node.get("columns", name) or node
        where = place(file, entry.line, entry.path)
        if name.startswith("_penstock_"):
            what = f'"{name}" is a name that Penstock uses itself'
            problems.append(Problem(what, where, fix="another name"))
        if column.key is not None and column.mask != "hash":
            problems.append(Problem('"key" goes with mask: hash only', where, fix="mask: hash"))
        if column.raw == "mask" and column.mask is None:
            problems.append(Problem('"raw: mask" needs a mask', where, fix="mask: hash"))
        problems += _zone(entry.get("timezone"), file)
    sources = [column.from_ for column in (model.columns or {}).values() if column.from_]
    for source in sorted({s for s in sources if sources.count(s) > 1}):
        entry = node.get("columns") or node
        where = place(file, entry.line, entry.path)
        what = f'two columns are made from "{source}"'
        problems.append(Problem(what, where, fix="derive the second one in steps"))
    return problems


def _zone(node: Node | None, file: str) -> list[Problem]:
    known = zoneinfo.available_timezones()
    if node is None or not known or not isinstance(node.value, str) or node.value in known:
        return []
    what = f'"{node.value}" is no time zone'
    return [Problem(what, place(file, node.line, node.path), near(node.value, known))]
