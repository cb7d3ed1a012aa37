"""SQL that a pipeline file holds: checked to be one expression, or one query, before it is used.

Why: text that closes a bracket early would become part of Penstock's own statement
(tests/unit/transform/test_steps.py tries it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import Rejected

if TYPE_CHECKING:
    import duckdb


def expression(connection: duckdb.DuckDBPyConnection, text: str, where: str) -> str:
    """The text in brackets, as one SQL expression.

    Raises: Rejected if it is anything else.
    """
    tree = parsed(connection, text, where)
    alone = tree["from_table"]["type"] == "EMPTY" and not tree["where_clause"]
    if not alone or len(tree["select_list"]) != 1 or tree["modifiers"]:
        raise Rejected("not one SQL expression", where=where, why=text)
    return f"(\n{text}\n)"


def parsed(connection: duckdb.DuckDBPyConnection, text: str, where: str = "") -> Any:
    """The syntax tree of an expression, inside that of a SELECT."""
    return _statement(connection, f"SELECT (\n{text}\n)", where, text)["node"]


def query(connection: duckdb.DuckDBPyConnection, text: str, where: str) -> tuple[str, Any]:
    """The text as one SELECT, without a semicolon at its end, and its syntax tree.

    Raises: Rejected if it is anything else.
    """
    bare = text.strip().rstrip(";").rstrip()
    return bare, _statement(connection, bare, where, bare)


def nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every node of a syntax tree."""
    if isinstance(tree, Mapping):
        yield tree
        for value in tree.values():
            yield from nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value)


def _statement(connection: duckdb.DuckDBPyConnection, sql: str, where: str, shown: str) -> Any:
    row = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    assert row is not None
    parsed = json.loads(row[0])
    if parsed["error"]:
        raise Rejected(f"SQL: {parsed['error_message']}", where=where, why=shown)
    if len(parsed["statements"]) != 1:
        raise Rejected("more than one SQL statement", where=where, why=shown)
    return parsed["statements"][0]
