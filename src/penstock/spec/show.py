"""The merged file as YAML, each value with the line it came from (`check --resolved`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from penstock.spec.layers import BUILT_IN, FLAG, Merged
from penstock.spec.models import FileModel
from penstock.spec.nodes import Node
from penstock.spec.parse import is_text
from penstock.spec.problems import known_keys
from penstock.spec.resolve import resolve
from penstock.spec.stream_models import StreamModel

_HIDDEN = re.compile(r"password|secret_access_key|session_token|api_key|token")
_LOGIN = re.compile(r"(?<=://)([^/@\s:]*):([^@\s]*)@")
_PLAIN = re.compile(r"[A-Za-z_./][\w ./@+-]*(?<! )|\d+[smhd]|\d+%")
_WIDE = 44


def resolved_text(
    path: str | Path,
    environment: str | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """The file merged for one environment, as YAML that says where each value stands.

    Shape: `key: value  # line 12`, `# defaults, line 5`, `# environment prod, line 30`,
    `# built in`. Passwords that stand in the file are shown as ***.
    Raises: SpecError as `load_pipeline` does.
    """
    resolved = resolve(path, environment, flags, environ)
    lines = [f"# {resolved.file.name}, environment {resolved.merged.environment}"]
    lines += _lines(_tree(resolved.merged), 0, "", "")
    return "\n".join(lines) + "\n"


def _tree(merged: Merged) -> Node:
    limit = merged.settings.get("limit_rows")
    streams = {
        name: _ordered(node if limit is None else node.with_("limit_rows", limit), StreamModel)
        for name, node in merged.streams.items()
    }
    return _ordered(merged.top, FileModel).with_("streams", Node(streams))


def _ordered(node: Node, model: type[BaseModel]) -> Node:
    """The mapping with its keys as the format lists them."""
    order = known_keys(model)
    last = len(order)
    keys = sorted(node.value, key=lambda key: order.index(key) if key in order else last)
    return replace(node, value={key: node.value[key] for key in keys})


def _lines(node: Node, indent: int, stream: str, key: str) -> Iterator[str]:
    """The lines of a mapping's or list's content, `indent` levels deep."""
    margin = "  " * indent
    for name, child in node.items():
        inside = name if key == "streams" and indent == 1 else stream
        label = f"{margin}{_text(name)}:"
        yield from _entry(label, name, child, indent, inside)
    if node.is_list:
        for child in node.value:
            inner = list(_lines(child, indent + 1, stream, key)) if not _is_flat(child) else []
            if inner:
                yield f"{margin}- {inner[0].lstrip()}"
                yield from inner[1:]
            else:
                yield _commented(f"{margin}- {_flow(child, key)}", child, stream)


def _entry(label: str, name: str, child: Node, indent: int, stream: str) -> Iterator[str]:
    if _is_flat(child):
        yield _commented(f"{label} {_flow(child, name)}", child, stream)
        return
    yield label
    yield from _lines(child, indent + 1, stream, name)


def _is_flat(node: Node) -> bool:
    """Whether the value stands on one line: scalars, lists of scalars, what is empty."""
    if node.is_list:
        return all(not (item.is_map or item.is_list) for item in node.value)
    return not node.is_map or not node.value


def _flow(node: Node, key: str) -> str:
    if node.is_list:
        return "[" + ", ".join(_flow(item, key) for item in node.value) + "]"
    if node.is_map:
        return "{}"
    value = node.value
    if isinstance(value, str):
        return _text(_without_secrets(value, key))
    return json.dumps(value) if not hasattr(value, "text") else str(value.text)


def _without_secrets(value: str, key: str) -> str:
    if "${" not in value and (_HIDDEN.search(key) or key == "key"):
        return "***"
    return _LOGIN.sub(lambda m: f"{m[1]}:{m[2] if m[2].startswith('${') else '***'}@", value)


def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and is_text(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _commented(line: str, node: Node, stream: str) -> str:
    return f"{line:<{_WIDE}}  # {_origin(node, stream)}"


def _origin(node: Node, stream: str) -> str:
    path = node.path
    if path[:1] == BUILT_IN:
        return "built in"
    if path[:1] == FLAG:
        return "flag"
    if path[:1] == ("environments",):
        return f"environment {path[1]}, line {node.line}"
    if path[:1] in (("defaults",), ("step_sets",)):
        return f"{'.'.join(path[: 1 if path[0] == 'defaults' else 2])}, line {node.line}"
    if path[:1] == ("streams",) and len(path) > 1 and path[1] != stream:
        return f"{path[1]}, line {node.line}"
    return f"line {node.line}"
