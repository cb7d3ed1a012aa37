"""YAML 1.2 to nodes: core types only, every value with its line, every trap named.

Why: YAML readers turn `NO` into false, `12:30` into 750 and `001234` into 1234, keep the last of
two equal keys, and read `{type: decimal(12,2)}` as three things (tests/unit/spec/test_parse.py).
"""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from penstock.errors import Problem, SpecError
from penstock.spec.hints import place
from penstock.spec.nodes import Node, Real, Whole

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,300})")
_RADIX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TEXT = "tag:yaml.org,2002:str"
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge")
)
_QUOTED = re.compile(r""""(?:\\.|[^"\\])*"|'(?:''|[^'])*'|(?<!\S)#.*$""")
_CALL = re.compile(r"(?<![\w\"'])([A-Za-z_]\w*\([^()\"']*\))")
_REFERENCE = re.compile(r"([^\s\"',\[\]{}]*(?:\$?\$\{[^}]*\}[^\s\"',\[\]{}]*)+)")
_MOST_NODES = 200_000


def read_text(path: Path) -> str:
    """The file as text.

    Raises: SpecError if it is missing, blank, or not UTF-8 (a UTF-8 byte order mark is accepted).
    """
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        raise SpecError(
            f"no pipeline file at {path}",
            fix="penstock init writes one here; -f FILE names another",
        ) from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read", why=str(error.strerror)) from error
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SpecError(f"{path.name} is UTF-16", fix="save it as UTF-8")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"{path.name} is not UTF-8",
            where=place(path.name, line),
            why=f"byte 0x{body[error.start]:02x} starts no character",
            fix="save it as UTF-8",
        ) from error
    if not text.strip():
        raise SpecError(f"{path.name} is empty", fix="penstock init writes one that runs")
    return text


def parse(text: str, file: str) -> tuple[Node, list[Problem]]:
    """The top mapping of a YAML text, and what is wrong with its keys and values.

    Raises: SpecError if it is no YAML, or no mapping.
    """
    reader = YAML(typ="safe", pure=True)
    try:
        top = reader.compose(text)
    except MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except YAMLError as error:
        reason = str(error).splitlines()[0]
        raise SpecError(f"{file} is no YAML", where=file, why=reason) from None
    if top is None:
        raise SpecError(f"{file} says nothing", fix="penstock init writes one that runs")
    if not isinstance(top, MappingNode):
        raise SpecError(
            f"{file} must be a mapping of keys to values",
            where=place(file, top.start_mark.line + 1),
            fix="start with: version: 1",
        )
    builder = _Builder(text.splitlines(), file)
    return builder.node(top, top.start_mark.line + 1, ()), builder.problems


class _Builder:
    """Turns composed YAML into nodes, collecting problems on the way."""

    def __init__(self, lines: list[str], file: str) -> None:
        self.lines, self.file = lines, file
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._made = 0

    def node(self, raw: Any, line: int, path: tuple[str, ...]) -> Node:
        """The node of a composed value; aliases are written out."""
        self._made += 1
        if id(raw) in self._open or self._made > _MOST_NODES:
            raise SpecError(
                "an anchor contains itself" if id(raw) in self._open else "too many values",
                where=place(self.file, line, path),
                fix="write it out",
            )
        if raw.tag not in _TAGS:
            self._problem(f"the tag {raw.tag} is not known", line, path, fix="remove it")
        if isinstance(raw, ScalarNode):
            return Node(raw.value if raw.tag == _TEXT else _core(raw.value), line, path)
        self._open.add(id(raw))
        try:
            if isinstance(raw, SequenceNode):
                self._unquoted(raw, raw.value, path)
                items = (
                    self.node(item, item.start_mark.line + 1, (*path, f"[{index}]"))
                    for index, item in enumerate(raw.value)
                )
                return Node(tuple(items), line, path)
            return Node(self._mapping(raw, path), line, path)
        finally:
            self._open.discard(id(raw))

    def _mapping(self, raw: MappingNode, path: tuple[str, ...]) -> dict[str, Node]:
        self._unquoted(raw, [part for pair in raw.value for part in pair], path)
        children: dict[str, Node] = {}
        below: dict[str, Node] = {}
        torn = ""
        for key, value in raw.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                self._problem("a key must be text", line, path, fix="quote it")
                continue
            name = key.value
            if torn and name.count(")") > name.count("("):
                whole = children[torn]
                children[torn] = replace(whole, value=f"{whole.value},{name}")
                continue
            torn = name if raw.flow_style and _is_torn(value) else ""
            if name == "<<" and getattr(key, "style", None) is None:
                below.update(self._merged(value, line, path))
                continue
            if name in children:
                self._problem(
                    f'"{name}" stands here twice',
                    line,
                    (*path, name),
                    why=f"the first one is on line {children[name].line}",
                    fix="keep one of them",
                )
                continue
            children[name] = self.node(value, line, (*path, name))
        return {**{k: v for k, v in below.items() if k not in children}, **children}

    def _merged(self, value: Any, line: int, path: tuple[str, ...]) -> dict[str, Node]:
        sources = value.value if isinstance(value, SequenceNode) else [value]
        merged: dict[str, Node] = {}
        for source in reversed(sources):
            if not isinstance(source, MappingNode):
                self._problem("<< takes a mapping", line, path, fix="<<: *name of an anchor")
                continue
            merged.update(self.node(source, line, path).value)
        return merged

    def _unquoted(self, raw: Any, parts: list[Any], path: tuple[str, ...]) -> None:
        """Inside braces a comma ends a value: `decimal(12,2)` has fallen apart."""
        if not raw.flow_style:
            return
        for part in parts:
            if _is_torn(part):
                line = part.start_mark.line + 1
                self._problem(
                    f'"{part.value}" is cut at the comma',
                    line,
                    path,
                    why="inside { } and [ ] a comma separates values",
                    fix=f"quote it: {_quoted(self.lines[line - 1]).strip()}",
                )

    def _problem(
        self, what: str, line: int, path: tuple[str, ...], why: str = "", fix: str = ""
    ) -> None:
        self.problems.append(Problem(what, place(self.file, line, path), why, fix))


def _is_torn(raw: Any) -> bool:
    plain = isinstance(raw, ScalarNode) and getattr(raw, "style", None) is None
    return plain and raw.value.count("(") > raw.value.count(")")


def is_text(text: str) -> bool:
    """Whether a plain scalar is text, and neither null, boolean nor number."""
    return isinstance(_core(text), str)


def _core(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core schema; leading zeros and inexact numbers stay text."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text) or _RADIX.fullmatch(text):
        whole = Whole(int(text, 0))
        whole.text = text
        return whole
    if _FLOAT.fullmatch(text) and any(character.isdigit() for character in text):
        real = Real(text)
        real.text = text
        if math.isfinite(real) and Decimal(repr(float(real))) == Decimal(text):
            return real
    return text


def _syntax_error(error: MarkedYAMLError, text: str, file: str) -> SpecError:
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines() or [""]
    row = min(mark.line, len(lines) - 1) if mark is not None else 0
    column = mark.column if mark is not None else 0
    opened = error.context_mark
    if opened is not None and opened.line == row and "alias" in str(error.context):
        column = opened.column
    line, said = lines[row], str(error.problem or "")
    what, why, fix = f"{file} is no YAML", said, ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        what, why = "a tab indents this line", "YAML takes spaces only"
        fix = "write spaces: " + line.expandtabs(2)
    elif _quoted(line) != line:
        what, why = "a value here must be quoted", "braces, brackets and commas have meaning"
        fix = f"quote it: {_quoted(line).strip()}"
    elif "another document" in said:
        what, why, fix = "a second document starts here", "one file is one pipeline", "remove ---"
    elif "undefined alias" in said:
        what, why = said.replace("found ", ""), "no anchor (&name) stands above it"
    elif "mapping values" in said and ": " in line[:column]:
        what, why = 'a value with ": " in it must be quoted', ""
        start = line.index(": ") + 2
        fix = f"quote it: {_quote_from(line, start).strip()}"
    elif column < len(line) and line[column] in "@`%*&!|>":
        what, why = f"a value must not start with {line[column]}", ""
        fix = f"quote it: {_quote_from(line, column).strip()}"
    elif opened is not None and "quoted scalar" in str(error.context):
        row = opened.line
        what, why = "a quoted value is wrong", said.replace("found ", "")
        fix = "close the quote; in double quotes write \\\\ for a backslash"
    elif opened is not None and opened.line != row:
        why = f"{said} ({error.context} that starts at {place(file, opened.line + 1)})"
        fix = "close the { or [ there" if "flow" in str(error.context) else ""
    return SpecError(what, where=place(file, row + 1), why=why, fix=fix)


def _quoted(line: str) -> str:
    """The line with every bare call `f(a,b)` and bare `${…}` in quotes."""
    parts, end = [], 0
    for match in _QUOTED.finditer(line):
        parts += [_quote_bare(line[end : match.start()]), match.group()]
        end = match.end()
    return "".join([*parts, _quote_bare(line[end:])])


def _quote_bare(text: str) -> str:
    for pattern in (_REFERENCE, _CALL):
        text = pattern.sub(r'"\1"', text)
    return text


def _quote_from(line: str, start: int) -> str:
    in_flow = any(line[:start].count(o) > line[:start].count(c) for o, c in ("{}", "[]"))
    match = re.compile(r"[^,}\]]*" if in_flow else r".*?(?=\s+#|\s*$)").match(line, start)
    value = match.group().rstrip() if match else ""
    return (
        line[:start]
        + '"'
        + value.replace("\\", "\\\\").replace('"', '\\"')
        + '"'
        + line[start + len(value) :]
    )
