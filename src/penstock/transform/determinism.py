"""Whether a stream's steps and rules give the same answer when they run twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.pipeline import Stream
from penstock.transform import sqltext

if TYPE_CHECKING:
    import duckdb

VOLATILE = frozenset(
    {
        "currval",
        "current_connection_id",
        "current_query",
        "current_query_id",
        "current_transaction_id",
        "error",
        "gen_random_uuid",
        "nextval",
        "random",
        "setseed",
        "sleep_ms",
        "stats",
        "uuid",
        "uuidv4",
        "uuidv7",
        "write_log",
    }
)
"""Functions that DuckDB calls volatile; tests/unit/transform/test_chunk.py compares them."""


def repeatable(connection: duckdb.DuckDBPyConnection, stream: Stream) -> bool:
    """Whether a second pass over the same rows, in the same transaction, finds the same.

    Shape: False also for what might: queries, windows and subqueries may depend on row order.
    """
    texts: list[str] = []
    for step in stream.steps:
        if step.kind == "sql":
            return False
        if step.kind == "derive":
            texts += [str(text) for text in step.options.values()]
        elif step.kind == "filter":
            texts.append(str(step.options["where"]))
    texts += [str(rule.options["sql"]) for rule in stream.expect if rule.kind == "expression"]
    return all(_is_repeatable(connection, text) for text in texts)


def _is_repeatable(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    tree = sqltext.parsed(connection, text)
    return not any(
        node.get("class") in ("WINDOW", "SUBQUERY")
        or str(node.get("function_name", "")).lower() in VOLATILE
        for node in sqltext.nodes(tree)
    )
