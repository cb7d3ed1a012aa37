"""What pydantic found, said the way a person needs it: line, hint, fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from penstock.errors import Problem
from penstock.spec.fields import Model
from penstock.spec.hints import near, place
from penstock.spec.models import (
    EnvironmentModel,
    FileModel,
    FilesSourceModel,
    PostgresSourceModel,
)
from penstock.spec.nodes import Node
from penstock.spec.stream_models import AssertionModel, StepModel, StreamModel

NOT_BUILT = "is not built yet in this version"
_LATER = frozenset({"aws", "notify", "tenants", "triggers", "unit_tests"})
RESERVED_KEYS: Mapping[type[BaseModel], frozenset[str]] = {
    FileModel: _LATER,
    EnvironmentModel: _LATER,
    PostgresSourceModel: frozenset({"network"}),
    FilesSourceModel: frozenset({"network"}),
    StreamModel: frozenset({"deletes", "child_tables"}),
    AssertionModel: frozenset({"volume", "sum", "expression", "sql", "freshness"}),
    StepModel: frozenset({"python"}),
}
RESERVED_VALUES: Mapping[str, frozenset[str]] = {
    "write": frozenset({"scd2"}),
    "runs_on": frozenset({"aws", "local-aws"}),
    "from": frozenset({"secretsmanager", "ssm"}),
    "raw": frozenset({"mask"}),
}
_SHAPES = {
    "string_type": ("must be text", '{key}: "…"'),
    "list_type": ("must be a list", "{key}: [{value}]"),
    "dict_type": ("must be a mapping", "{key}: {{…: …}}"),
    "model_type": ("must be a mapping", "{key}: {{…: …}}"),
    "model_attributes_type": ("must be a mapping", "{key}: {{…: …}}"),
    "bool_type": ("must be true or false", "{key}: true"),
    "int_type": ("must be a whole number", "{key}: 1"),
    "int_parsing": ("must be a whole number", "{key}: 1"),
    "int_from_float": ("must be a whole number", "{key}: 1"),
    "greater_than_equal": ("must be at least {ge}", ""),
    "less_than_equal": ("must be at most {le}", ""),
    "too_short": ("must not be empty", ""),
    "string_too_short": ("must not be empty", ""),
    "string_too_long": ("must be one character", ""),
}


def problems_of(
    error: ValidationError, model: type[BaseModel], top: Node, file: str
) -> list[Problem]:
    """One problem for each thing that is wrong; `top` is the node that was validated."""
    return [_problem(details, model, top, file) for details in error.errors(include_url=False)]


def _problem(details: Any, model: type[BaseModel], top: Node, file: str) -> Problem:
    kind, loc, ctx = details["type"], details["loc"], details.get("ctx", {})
    node = _node_at(top, loc)
    key = _key(node, loc)
    where = place(file, node.line, node.path)
    if kind == "extra_forbidden":
        return _unknown_key(str(loc[-1]), where, _model_at(model, loc[:-1]))
    if kind == "missing":
        name = loc[-1]
        where = place(file, node.line, (*node.path, str(name)))
        return Problem(f'"{name}" is missing', where, "", f"add {name}: …")
    if kind == "literal_error":
        return _not_allowed(key, node.value, ctx["expected"], where)
    if kind == "notation":
        return Problem(ctx["what"], where, "", ctx["fix"])
    if kind in _SHAPES:
        said, fix = (text.format(key=key, value=_shown(node), **ctx) for text in _SHAPES[kind])
        return Problem(f'"{key}" {said}', where, "", fix)
    return Problem(f'"{key}": {details["msg"]}', where)


def _unknown_key(key: str, where: str, model: type[BaseModel] | None) -> Problem:
    for owner, reserved in RESERVED_KEYS.items():
        if model is not None and key in reserved and issubclass(owner, model):
            return Problem(f'"{key}" {NOT_BUILT}', where, "", "remove it")
    known = known_keys(model) if model is not None else ()
    return Problem(f'unknown key "{key}"', where, near(key, known))


def _not_allowed(key: str, value: Any, expected: str, where: str) -> Problem:
    allowed = re.findall(r"'([^']*)'", expected)
    if isinstance(value, str) and value in RESERVED_VALUES.get(key, ()):
        what = f'"{key}: {value}" {NOT_BUILT}'
        return Problem(what, where, "", f"use {', '.join(allowed)}")
    hint = near(str(value), allowed)
    why = hint if hint.startswith("did") else ""
    return Problem(f'"{key}" cannot be "{value}"', where, why, f"one of {', '.join(allowed)}")


def known_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys a mapping of the file may have."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _node_at(top: Node, loc: Iterable[str | int]) -> Node:
    node = top
    for part in loc:
        inside = node.is_list and isinstance(part, int) and part < len(node.value)
        if inside or (node.is_map and part in node.value):
            node = node.value[part]
    return node


def _key(node: Node, loc: tuple[str | int, ...]) -> str:
    if not node.path:
        return str(loc[-1]) if loc else "the file"
    last = node.path[-1]
    return last if not last.startswith("[") or len(node.path) < 2 else node.path[-2] + last


def _shown(node: Node) -> str:
    return str(node.value) if isinstance(node.value, (str, int, float)) else "…"


def _model_at(model: Any, loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model of the mapping at `loc`, walked by annotations."""
    found = _bare(model)
    for part in loc:
        if isinstance(found, type) and issubclass(found, Model):
            field = next(
                (f for name, f in found.model_fields.items() if part in (f.alias, name)), None
            )
            found = None if field is None else _bare(field.annotation)
        elif get_origin(found) is Union or isinstance(found, tuple):
            found = next((_bare(a) for a in get_args(found) if part in _tags(a)), None)
        else:
            arguments = get_args(found)
            found = _bare(arguments[-1]) if arguments else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _tags(annotation: Any) -> tuple[str, ...]:
    return tuple(m.tag for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Tag))


def _bare(annotation: Any) -> Any:
    """The annotation without Annotated and Optional; a tagged union stays one."""
    if get_origin(annotation) is Annotated:
        if any(isinstance(m, Tag) for m in annotation.__metadata__):
            return get_args(annotation)[0]
        annotation = get_args(annotation)[0]
    arguments = [a for a in get_args(annotation) if a is not type(None)]
    is_union = len(arguments) < len(get_args(annotation)) or get_origin(annotation) is Union
    if is_union and len(arguments) == 1:
        return _bare(arguments[0])
    return annotation
