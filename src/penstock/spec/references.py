"""`${var:} ${env:} ${secret:}` in string leaves: found, checked, and replaced where they may be.

In ordinary text `${var:x}` is replaced by its value. In SQL it becomes a bound `$x`, never text.
`${env:X}` and `${secret:a/b#field}` stay references where something is opened with them (sources,
warehouse, storage, mask keys) and are refused elsewhere. `$${` is a literal `${`. No nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from penstock.errors import Problem
from penstock.spec.hints import near, place
from penstock.spec.nodes import Node, Path

_TOKEN = re.compile(r"\$\$\{|\$\{(?P<body>[^{}]*)\}|\$\{")
_BODY = re.compile(r"(?P<kind>[a-z]+):(?P<name>[A-Za-z0-9_./-]+)(?:#(?P<field>[A-Za-z0-9_.-]+))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SQL_SKIPPED = re.compile(
    r"'(?:''|[^'])*'|\"(?:\"\"|[^\"])*\"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$", re.DOTALL
)
_SQL_KEYS = frozenset({"where", "query", "sql", "filter", "expression"})
_OPENED = frozenset({"sources", "warehouse", "storage"})


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${kind:name#field}` of a text."""

    kind: str
    name: str
    field: str | None
    start: int
    end: int

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.name}{'#' + self.field if self.field else ''}}}"


def references(text: str) -> Iterator[Reference]:
    """Every well-formed reference in the text, in order."""
    for match in _TOKEN.finditer(text):
        body = _BODY.fullmatch(match["body"] or "")
        if body is not None:
            yield Reference(body["kind"], body["name"], body["field"], *match.span())


def unescaped(text: str) -> str:
    """The text with `$${` as the literal `${` it stands for."""
    return text.replace("$${", "${")


@dataclass
class Substitution:
    """Replaces references in nodes; `problems` holds what could not be, `bound` what SQL binds."""

    variables: Mapping[str, str]
    file: str
    problems: list[Problem] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)

    def apply(self, node: Node, path: Path = ()) -> Node:
        """The node with every string leaf replaced; `path` is its place in the merged file."""
        if node.is_map:
            children = {k: self.apply(v, (*path, k)) for k, v in node.value.items()}
            return replace(node, value=children)
        if node.is_list:
            items = (self.apply(v, (*path, f"[{i}]")) for i, v in enumerate(node.value))
            return replace(node, value=tuple(items))
        if isinstance(node.value, str) and "${" in node.value:
            return replace(node, value=self._text(node, path))
        return node

    def _text(self, node: Node, path: Path) -> str:
        text = node.value
        sql = is_sql(path)
        literals = [m.span() for m in _SQL_SKIPPED.finditer(text)] if sql else []
        opened = is_opened(path)
        parts, end = [], 0
        for match in _TOKEN.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            if match.group() == "$${":
                parts.append("$${" if opened else "${")
            elif sql and any(a <= match.start() < b for a, b in literals):
                parts.append(match.group())
                self._report(
                    node,
                    f"{match.group()} stands inside a quoted text",
                    "a variable in SQL is a bound value, not text",
                    "remove the quotes around it",
                )
            else:
                parts.append(self._token(node, match, sql, opened))
        return "".join([*parts, text[end:]])

    def _token(self, node: Node, match: re.Match[str], sql: bool, opened: bool) -> str:
        token = match.group()
        body = _BODY.fullmatch(match["body"] or "")
        if body is None or body["kind"] not in ("var", "env", "secret", "tenant"):
            why = near(body["kind"], ("var", "env", "secret")) if body is not None else ""
            fix = "write ${var:x}, ${env:X} or ${secret:a/b#field}; a literal ${ is $${"
            self._report(node, f"{token} is no reference", why, fix)
            return token
        kind, name = body["kind"], body["name"]
        if kind == "tenant":
            self._report(node, f"{token} is not built yet in this version", "", "remove it")
            return token
        if kind == "var":
            return self._variable(node, name, sql, opened)
        if not opened:
            self._report(
                node,
                f"{token} cannot stand here",
                "secrets and the environment are read where sources, warehouse, storage and "
                "mask keys open",
                "use ${var:x}; an environment may give its own vars",
            )
        return token

    def _variable(self, node: Node, name: str, sql: bool, opened: bool) -> str:
        if name not in self.variables:
            hint = near(name, self.variables)
            token = f"${{var:{name}}}"
            self._report(node, f"{token} is not in vars", hint, f'add it: vars: {{{name}: "…"}}')
            return token
        if sql:
            self.bound.add(name)
            return f"${name}"
        value = self.variables[name]
        return value.replace("${", "$${") if opened else value

    def _report(self, node: Node, what: str, why: str, fix: str) -> None:
        self.problems.append(Problem(what, place(self.file, node.line, node.path), why, fix))


def is_sql(path: Path) -> bool:
    """Whether the leaf at this place of the file is SQL."""
    names = [part for part in path if not part.startswith("[")]
    if len(names) < 2 or not {"streams", "defaults", "step_sets"} & set(names[:3]):
        return False
    derived = path[-2] == "derive" and path[-3].startswith("[")
    return derived or path[-1] in _SQL_KEYS


def is_opened(path: Path) -> bool:
    """Whether the leaf at this place is read when something opens."""
    top = path[2:] if path[:1] == ("environments",) else path
    if top[:1] and top[0] in _OPENED:
        return True
    return len(path) >= 3 and path[-1] == "key" and path[-3] == "columns"


def variables_of(node: Node | None, file: str) -> tuple[dict[str, str], list[Problem]]:
    """The values of `vars` as text, and what is wrong with them."""
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for name, child in node.items() if node is not None else ():
        where = place(file, child.line, child.path)
        value = child.value
        if _VARIABLE.fullmatch(name) is None:
            fix = "letters, digits and _ only"
            problems.append(Problem(f'"{name}" cannot be a variable', where, "", fix))
        elif isinstance(value, str) and re.search(r"(?<!\$)\$\{", value):
            fix = "write the value itself"
            problems.append(Problem("a variable cannot hold a reference", where, "", fix))
        elif child.is_map or child.is_list:
            problems.append(Problem("a variable is one value", where, "", 'x: "text"'))
        elif isinstance(value, str):
            values[name] = unescaped(value)
        elif isinstance(value, bool):
            values[name] = "true" if value else "false"
        elif value is not None:
            values[name] = str(getattr(value, "text", value))
    return values, problems
