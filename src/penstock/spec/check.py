"""What the protocol cannot keep is refused; what a user should know is said.

Why: each refusal is a table that would silently be wrong (pipeline-file rule 5).
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.errors import Problem
from penstock.pipeline import Column, Pipeline, Stream

Refusal = tuple[tuple[str, ...], str, str, str]
"""Keys below the stream, what, why, fix."""

_PLAIN_SECRETS = ("password", "secret_access_key", "api_key", "session_token", "token")


def refusals(stream: Stream, *, key_is_known: bool) -> Iterator[Refusal]:
    """What is refused about a stream; without `key_is_known`, a table may still have a key."""
    keyless = not stream.primary_key
    may_have_key = not key_is_known and (stream.table is not None or bool(stream.tables))
    if keyless and not may_have_key:
        if stream.load.write == "merge":
            yield (
                ("load", "write"),
                "merge needs a primary key",
                "without one, no row can be found again",
                "primary_key: [id], or write: append or replace",
            )
        if stream.load.write == "append" and stream.lookback and stream.files is None:
            yield (
                ("from", "lookback"),
                "append with lookback needs a primary key",
                "rows that are read again would stand there twice",
                "primary_key: [id], or remove lookback",
            )
    for column in stream.columns:
        yield from _masked(stream, column)
    for key in stream.primary_key:
        if _source_name(stream, key) in stream.exclude:
            yield (
                ("primary_key",),
                f'the key column "{key}" is excluded',
                "it never leaves the source",
                f"remove it from exclude: {key}",
            )
    if stream.cursor is not None and stream.cursor in stream.exclude:
        yield (
            ("from", "cursor"),
            f'the cursor "{stream.cursor}" is excluded',
            "it never leaves the source",
            f"remove it from exclude: {stream.cursor}",
        )


def _masked(stream: Stream, column: Column) -> Iterator[Refusal]:
    if column.mask is None:
        return
    place = ("columns", column.name, "mask")
    if column.name in stream.primary_key and (column.mask != "hash" or column.key is None):
        yield (
            place,
            f'a mask on the key column "{column.name}" needs a hash key',
            "redacted keys are all alike, and a hash without a key can be guessed",
            'mask: hash, key: "${secret:mask-key}"',
        )
    if stream.load.write == "merge" and column.name == stream.version:
        yield (
            place,
            f'"{column.name}" decides which row is newest and cannot be masked',
            "a masked value has no order",
            "name another version, or remove the mask",
        )


def warnings(pipeline: Pipeline) -> tuple[Problem, ...]:
    """What holds, but not the way one might think; nothing is refused for it."""
    found: list[Problem] = []
    for stream in pipeline.streams:
        where = f"streams.{stream.name}"
        open_raw = [c.name for c in stream.columns if c.mask is not None]
        if open_raw:
            found.append(
                Problem(
                    f"raw files keep what the mask of {', '.join(open_raw)} hides",
                    f"{where}.columns",
                    fix="leave the column at its source: from.exclude",
                )
            )
        if stream.cursor is not None and stream.load.write != "replace":
            found.append(
                Problem(
                    f'deleted rows stay: the cursor "{stream.cursor}" does not see deletes',
                    f"{where}.from.cursor",
                    fix=f"now and then: penstock run --full-refresh --select {stream.name}",
                )
            )
        if stream.cursor is not None and stream.load.write == "replace" and not stream.auto_write:
            found.append(
                Problem(
                    f'the cursor "{stream.cursor}" is not used: replace reads in full',
                    f"{where}.load.write",
                )
            )
    for where, options in (
        *((f"sources.{s.name}", s.options) for s in pipeline.sources),
        ("warehouse", pipeline.warehouse.options),
        ("storage", pipeline.storage.options),
    ):
        found += [
            Problem(
                f"the {key} stands in the file as plain text",
                f"{where}.{key}",
                fix=f'{key}: "${{secret:…}}"',
            )
            for key in _PLAIN_SECRETS
            if isinstance(options.get(key), str) and "${" not in options[key]
        ]
    return tuple(found)


def _source_name(stream: Stream, output: str) -> str:
    column = stream.column(output)
    return column.source if column is not None and column.source else output
