"""The layers of a pipeline file, merged for one environment into one tree of nodes.

flag > environment > named stream > pattern stream > defaults > built in. An environment is laid
over the file as written; environments do not inherit from each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penstock.errors import Problem, SpecError
from penstock.spec.hints import near, place
from penstock.spec.nodes import Node, merge, node_of, plain
from penstock.spec.references import Substitution, variables_of
from penstock.spec.streams import takes

BUILT_IN = ("built in",)
FLAG = ("flag",)
_TOP = ("version", "pipeline", "description", "owner", "vars", "secrets", "warehouse", "storage")
_PATTERN_ONLY = ("tables", "exclude_tables")
Layers = tuple[Node | None, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A parsed pipeline file."""

    root: Node
    name: str
    directory: Path


@dataclass
class Merged:
    """The file in one environment: `top` without streams, each stream, what its SQL binds.

    `broken` names the streams that `problems` concern.
    """

    environment: str
    top: Node
    settings: Node
    variables: dict[str, str]
    streams: dict[str, Node] = field(default_factory=dict)
    bound: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)


def built_in(pipeline: str) -> Node:
    """What holds where the file says nothing."""
    schema = pipeline.replace("-", "_")
    return node_of(
        {
            "secrets": {"from": "env"},
            "warehouse": {"type": "duckdb", "path": f"{pipeline}.duckdb"},
            "storage": {"url": "./data"},
            "stream": {
                "schema_contract": {"new_columns": "evolve", "changed_types": "evolve"},
                "bad_rows": {"action": "quarantine", "max": "1%", "but_at_least": 100},
                "load": {"schema": schema, "table": "{table}", "write": "auto"},
            },
        },
        BUILT_IN,
    )


def environment_names(root: Node) -> tuple[str, ...]:
    """The environments that the file names, in its order."""
    environments = root.get("environments")
    return tuple(name for name, _ in environments.items()) if environments is not None else ()


def choose_environment(file: File, asked: str | None) -> str:
    """The environment asked for, else the one with `default: true`; `default` if there are none.

    Raises: SpecError if it is not in the file, or none or several are the default.
    """
    names = environment_names(file.root)
    if asked:
        if asked in names:
            return asked
        why = near(asked, names) if names else f"{file.name} names no environments"
        raise SpecError(f'the environment "{asked}" is not known', why=why)
    if not names:
        return "default"
    chosen = [n for n in names if _is_default(file.root, n)]
    if len(chosen) == 1:
        return chosen[0]
    node = file.root.value["environments"]
    what = (
        f"{len(chosen)} environments have default: true" if chosen else "no environment is chosen"
    )
    raise SpecError(
        what,
        where=place(file.name, node.line, node.path),
        why=f"known: {', '.join(names)}",
        fix="give one of them default: true, or name one: --env NAME",
    )


def merge_layers(file: File, environment: str, flags: Mapping[str, Any]) -> Merged:
    """The file merged for this environment, files read in, references replaced."""
    root, flag = file.root, node_of(flags, FLAG)
    over = _map(root.get("environments", environment))
    base = built_in(root.text("pipeline") or "pipeline")
    sections = {
        key: stack
        for key in (*_TOP, "sources")
        if (stack := _stack(base.get(key), root.get(key), over.get(key), flag.get(key))) is not None
    }
    settings = merge(over, flag)
    variables, problems = variables_of(sections.get("vars"), file.name)
    merged = Merged(environment, Node(sections, 1), settings, variables, problems=problems)
    substitution = Substitution(variables, file.name)
    merged.top = substitution.apply(merged.top.without("vars"))
    if "vars" in sections:
        merged.top = merged.top.with_("vars", sections["vars"])
    merged.problems += substitution.problems
    _merge_streams(file, merged, base, over, flag)
    return merged


def _merge_streams(file: File, merged: Merged, base: Node, over: Node, flag: Node) -> None:
    written = _map(file.root.get("streams"))
    for layer in (_map(over.get("streams")), _map(flag.get("streams"))):
        for name, node in layer.items():
            if name not in (written.value or {}):
                where = place(file.name, node.line, node.path)
                why = near(name, written.value)
                merged.problems.append(Problem(f'there is no stream "{name}"', where, why))
    defaults = _stack(base.get("stream"), file.root.get("defaults"))
    own = {
        name: (node, over.get("streams", name), flag.get("streams", name))
        for name, node in written.items()
    }
    for name, layers in own.items():
        found = len(merged.problems)
        pattern = _pattern_of(name, own, defaults)
        stack = _stack(defaults, *pattern, *layers) or Node({})
        # A stream is written where its entry stands, whatever layer has the last word in it.
        stack = replace(stack, line=written.value[name].line, path=("streams", name))
        expanded = _with_files(_with_step_sets(stack, file, merged), file, merged)
        substitution = Substitution(merged.variables, file.name)
        merged.streams[name] = substitution.apply(expanded, ("streams", name))
        merged.bound[name] = {v: merged.variables[v] for v in sorted(substitution.bound)}
        merged.problems += substitution.problems
        if len(merged.problems) > found:
            merged.broken.add(name)


def _pattern_of(name: str, own: Mapping[str, Layers], defaults: Node | None) -> Layers:
    """The layers of the one pattern that a named table leaves; none if there is not just one."""
    read = _map(_stack(defaults, *own[name])).get("from") or Node({})
    source, table = read.text("source"), read.text("table")
    if source is None or table is None:
        return ()
    found = []
    for other, layers in own.items():
        read = _map(_stack(defaults, *layers)).get("from") or Node({})
        if other == name or read.text("source") != source:
            continue
        if takes(_full(table), _texts(read, "tables"), _texts(read, "exclude_tables")):
            found.append(layers)
    return tuple(_for_one_table(layer) for layer in found[0]) if len(found) == 1 else ()


def _for_one_table(layer: Node | None) -> Node | None:
    """A pattern's layer without what only patterns have."""
    if layer is None:
        return None
    layer = layer.without("on_new_table")
    read = layer.get("from")
    return layer if read is None else layer.with_("from", read.without(*_PATTERN_ONLY))


def _with_step_sets(stream: Node, file: File, merged: Merged) -> Node:
    """The stream with every `use` replaced by the steps of its set."""
    steps = stream.get("steps")
    if steps is None or not steps.is_list:
        return stream
    sets = _map(file.root.get("step_sets"))
    items: list[Node] = []
    for step in steps.value:
        name = step.text("use")
        if name is None or len(step.value) != 1:
            items.append(step)
            continue
        chosen = sets.get(name)
        where = place(file.name, step.line, (*step.path, "use"))
        if chosen is None or not chosen.is_list:
            why = near(name, sets.value)
            merged.problems.append(Problem(f'there is no step set "{name}"', where, why))
            continue
        for inner in chosen.value:
            if inner.get("use") is not None:
                inside = place(file.name, inner.line, inner.path)
                what = "a step set cannot use another"
                merged.problems.append(Problem(what, inside, fix="write its steps out"))
            else:
                items.append(inner)
    return stream.with_("steps", replace(steps, value=tuple(items)))


def _with_files(stream: Node, file: File, merged: Merged) -> Node:
    """The stream with `query_file` and `sql_file` replaced by the text they name."""
    read, steps = stream.get("from"), stream.get("steps")
    if read is not None and read.get("query_file") is not None and read.get("query") is None:
        stream = stream.with_("from", _read_in(read, "query_file", "query", file, merged))
    if steps is not None and steps.is_list:
        items = (
            _read_in(step, "sql_file", "sql", file, merged)
            if step.get("sql_file") is not None and step.get("sql") is None
            else step
            for step in steps.value
        )
        stream = stream.with_("steps", replace(steps, value=tuple(items)))
    return stream


def _read_in(node: Node, key: str, becomes: str, file: File, merged: Merged) -> Node:
    named = node.value[key]
    if not isinstance(named.value, str):
        return node
    substitution = Substitution(merged.variables, file.name)
    path = file.directory / str(substitution.apply(named).value)
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        folder = path.parent
        beside = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        reason = str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"
        where = place(file.name, named.line, named.path)
        hint = near(path.name, beside)
        why = f"{reason}; {hint}" if hint.startswith("did") else reason
        merged.problems.append(Problem(f"{named.value} cannot be read", where, why))
        return node
    return node.without(key).with_(becomes, replace(named, value=text.strip()))


def _stack(*layers: Node | None) -> Node | None:
    """The layers merged, lowest first; None if nothing is left."""
    stacked: Node | None = None
    for layer in layers:
        if layer is None:
            continue
        stacked = None if layer.value is None else merge(stacked, layer)
    return stacked


def _map(node: Node | None) -> Node:
    return node if node is not None and node.is_map else Node({})


def _is_default(root: Node, environment: str) -> bool:
    node = root.get("environments", environment, "default")
    return node is not None and node.value is True


def _full(table: str) -> str:
    return table if "." in table else f"public.{table}"


def _texts(node: Node, key: str) -> list[str]:
    child = node.get(key)
    value = plain(child) if child is not None else []
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
