"""What a source offers, as YAML to paste into a pipeline file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from penstock.model import Json
from penstock.ports import Dataset

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"})


def flow(value: Json) -> str:
    """The value as YAML in one line; whatever could be read as something else is quoted."""
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{flow(str(name))}: {flow(item)}" for name, item in value.items())
        return "{" + inner + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return json.dumps(value)


def stream_name(dataset: Dataset, taken: set[str]) -> str:
    """A name for the stream of a dataset that no other stream here has."""
    bare = dataset.name.rpartition(".")[2] if dataset.kind != "files" else dataset.name
    base = name = re.sub(r"[^A-Za-z0-9_-]", "_", bare) or "stream"
    count = 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def stream_lines(source: str, datasets: Sequence[Dataset]) -> Iterator[str]:
    """Entries of `streams:`, indented; likely cursors stand there as comments, never as choices."""
    taken: set[str] = set()
    for dataset in datasets:
        name = flow(stream_name(dataset, taken))
        rows = f"        # about {dataset.rows_estimate:,} rows" if dataset.rows_estimate else ""
        yield f"  {name}:{rows}"
        if dataset.kind == "files":
            yield from _file_lines(source, dataset)
        else:
            yield from _table_lines(source, dataset)


def _table_lines(source: str, dataset: Dataset) -> Iterator[str]:
    yield f"    from: {flow({'source': source, 'table': dataset.name})}"
    if dataset.primary_key:
        yield f"    # primary key, from the database: {', '.join(dataset.primary_key)}"
    elif dataset.kind == "table":
        yield "    # no primary key: primary_key: [...] if rows can be told apart"
    if dataset.cursors:
        first, *others = dataset.cursors
        also = f"   (or {', '.join(others)})" if others else ""
        yield f"    # to read only what changed, add to from: cursor: {flow(first)}{also}"


def _file_lines(source: str, dataset: Dataset) -> Iterator[str]:
    hint = dataset.hints.get("from")
    proposed: Mapping[str, Json] = hint if isinstance(hint, Mapping) else {}
    yield "    from:"
    yield f"      source: {flow(source)}"
    for key, value in proposed.items():
        if value not in ({}, None):
            yield f"      {flow(key)}: {flow(value)}"
    columns = dataset.hints.get("columns")
    if isinstance(columns, Mapping) and columns:
        yield "    columns:"
        for name, column in columns.items():
            yield f"      {flow(str(name))}: {flow(column)}"
