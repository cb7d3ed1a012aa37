"""Values that know where they stand in the file, and how layers of them merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Path = tuple[str, ...]


class Whole(int):
    """An integer that remembers how it was written, for places that want text."""

    text: str


class Real(float):
    """A float that remembers how it was written, for places that want text."""

    text: str


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file with its line (of its key, in a mapping) and its path from the top.

    Shape: `value` is a dict of nodes, a tuple of nodes, or None, bool, Whole, Real, str.
    """

    value: Any
    line: int = 0
    path: Path = ()

    @property
    def is_map(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, tuple)

    def get(self, *keys: str) -> Node | None:
        """The node under these keys, or None where one is missing or no mapping."""
        node: Node | None = self
        for key in keys:
            node = node.value.get(key) if node is not None and node.is_map else None
        return node

    def text(self, *keys: str) -> str | None:
        """The text under these keys, or None."""
        node = self.get(*keys)
        return node.value if node is not None and isinstance(node.value, str) else None

    def items(self) -> Iterator[tuple[str, Node]]:
        """The entries of a mapping; none for anything else."""
        return iter(self.value.items() if self.is_map else ())

    def without(self, *keys: str) -> Node:
        """This mapping without these keys."""
        if not self.is_map:
            return self
        return replace(self, value={k: v for k, v in self.value.items() if k not in keys})

    def with_(self, key: str, node: Node) -> Node:
        """This mapping with `node` under `key`."""
        return replace(self, value={**self.value, key: node})


def plain(node: Node) -> Any:
    """The node's value without its marks."""
    if node.is_map:
        return {key: plain(child) for key, child in node.value.items()}
    if node.is_list:
        return [plain(child) for child in node.value]
    return node.value


def node_of(value: Any, path: Path, line: int = 0) -> Node:
    """Nodes for a value that does not come from the file (a flag, something built in)."""
    if isinstance(value, Mapping):
        children = {str(k): node_of(v, (*path, str(k)), line) for k, v in value.items()}
        return Node(children, line, path)
    if isinstance(value, (list, tuple)):
        items = tuple(node_of(v, (*path, f"[{i}]"), line) for i, v in enumerate(value))
        return Node(items, line, path)
    return Node(value, line, path)


def merge(base: Node | None, over: Node | None) -> Node:
    """`over` on top of `base`: maps merge, lists and scalars replace, null removes.

    A map whose `type` differs from the one below replaces it whole.
    """
    if over is None:
        return base if base is not None else Node({})
    if base is None or not (base.is_map and over.is_map) or _other_type(base, over):
        return _without_nulls(over)
    merged = dict(base.value)
    for key, child in over.value.items():
        if child.value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), child)
    return replace(over, value=merged)


def _other_type(base: Node, over: Node) -> bool:
    below, above = base.get("type"), over.get("type")
    if below is None or above is None or above.value is None:
        return False
    return bool(below.value != above.value)


def _without_nulls(node: Node) -> Node:
    if not node.is_map:
        return node
    kept = {k: _without_nulls(v) for k, v in node.value.items() if v.value is not None}
    return replace(node, value=kept)
