"""Streams after the file is read: patterns become streams, `write: auto` is settled, some selected.

Nothing here needs the file: discovered tables and keys come from the source, when planning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from penstock.errors import Problem, SpecError
from penstock.pipeline import Load, Stream
from penstock.spec.check import refusals
from penstock.spec.hints import near

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def takes(table: str, tables: Iterable[str], exclude_tables: Iterable[str] = ()) -> bool:
    """Whether these globs take the table: by its full name, or a glob without a dot by its last."""
    return any(_glob(table, g) for g in tables) and not any(_glob(table, g) for g in exclude_tables)


def same_table(one: str, other: str) -> bool:
    """Whether two names mean one table; a name without a schema means `public`."""
    return _qualified(one) == _qualified(other)


def fill(template: str, source: str, stream: str, table: str | None) -> str:
    """A template of `load` with {source}, {schema}, {table}, {stream} filled in.

    Raises: KeyError for another placeholder.
    """
    schema, _, bare = (table or stream).rpartition(".")
    values = {"source": source, "schema": schema or source, "table": bare, "stream": stream}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def filled(load: Load, source: str, stream: str, table: str | None) -> Load:
    """The load with its templates filled in."""
    return replace(
        load,
        schema=fill(load.schema, source, stream, table),
        table=fill(load.table, source, stream, table),
    )


def settle_write(stream: Stream, database_key: Sequence[str] = ()) -> tuple[Stream, str]:
    """The stream with its final write and primary key, and why, once the database's key is known.

    The key is the declared one, else the database's (by output names, if all of it is read).
    `write: auto` with key and cursor merges, files append, all else is read in full and replaced
    (the cursor is dropped, so that nobody reads by it).
    Raises: SpecError if the write is refused with this key.
    """
    key, origin = stream.primary_key, "declared"
    if not key:
        key, origin = _output_key(stream, database_key), "the database's"
    said = f"primary key {', '.join(key)} ({origin})"
    settled = replace(stream, primary_key=key, auto_write=False)
    if not stream.auto_write:
        reason = f"{stream.load.write}: the file says so"
    elif stream.files is not None:
        settled = replace(settled, load=replace(stream.load, write="append"))
        reason = f"append: files, a path again is: {stream.reupload}"
    elif key and stream.cursor is not None:
        settled = replace(settled, load=replace(stream.load, write="merge"))
        reason = f"merge: {said} and cursor {stream.cursor}"
    else:
        settled = replace(settled, load=replace(stream.load, write="replace"), cursor=None)
        reason = "replace, read in full: " + ("no cursor" if key else "no primary key")
    problems = tuple(
        Problem(what, f"streams.{stream.name}", why, fix)
        for _, what, why, fix in refusals(settled, key_is_known=True)
    )
    if problems:
        raise SpecError(f"stream {stream.name} is refused", problems=problems)
    return settled, reason


def expand(
    stream: Stream, tables: Sequence[str], all_streams: Sequence[Stream]
) -> tuple[Stream, ...]:
    """The streams that a pattern stands for among the source's tables, `<entry>.<table>` each.

    A table that another entry names is left to it.
    Raises: SpecError if a glob matches nothing, two patterns take one table, or two tables would
    have one name.
    """
    problems = [
        Problem(
            f'the pattern "{glob}" matches no table of {stream.source}',
            f"streams.{stream.name}.from.tables",
            near(glob.strip("*."), tables) if tables else "the source shows no tables",
        )
        for glob in stream.tables
        if not any(_glob(table, glob) for table in tables)
    ]
    others = [s for s in all_streams if s.source == stream.source and s.name != stream.name]
    named = [s.table for s in others if s.table is not None and not _is_part(s, stream)]
    patterns = [s for s in others if s.tables]
    made: dict[str, Stream] = {}
    for table in sorted(set(tables)):
        if not takes(table, stream.tables, stream.exclude_tables):
            continue
        if any(same_table(table, name) for name in named):
            continue
        problems += [
            Problem(
                f'two patterns take the table "{table}"',
                f"streams.{stream.name} and streams.{pattern.name}",
                fix=f"add it to exclude_tables of one, or name it in a stream of its own: {table}",
            )
            for pattern in patterns
            if takes(table, pattern.tables, pattern.exclude_tables)
        ]
        part = _part(stream, table)
        if part.name in made:
            problems.append(
                Problem(
                    f"{made[part.name].table} and {table} would both be {part.name}",
                    f"streams.{stream.name}.from.tables",
                    fix="make an entry of its own for one of them",
                )
            )
        made[part.name] = part
    problems += _shared_targets(made.values(), others)
    if problems:
        raise SpecError("a pattern does not fit the source", problems=tuple(problems))
    return tuple(made.values())


def select(
    streams: Sequence[Stream], select: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[Stream, ...]:
    """The streams that `select` takes (all, if empty) and `exclude` does not, in file order.

    Shape: an item is a name, a glob, `tag:x`, or the entry of a pattern for all its streams.
    Raises: SpecError if an item takes nothing.
    """
    problems = tuple(
        Problem(f'"{item}" selects no stream', why=near(item, _selectable(streams)))
        for item in (*select, *exclude)
        if not any(_selected(stream, item) for stream in streams)
    )
    if problems:
        raise SpecError("nothing is selected", problems=problems)
    return tuple(
        stream
        for stream in streams
        if (not select or any(_selected(stream, item) for item in select))
        and not any(_selected(stream, item) for item in exclude)
    )


def _selected(stream: Stream, item: str) -> bool:
    if item.startswith("tag:"):
        return any(fnmatchcase(tag, item.removeprefix("tag:")) for tag in stream.tags)
    return fnmatchcase(stream.name, item) or stream.name.startswith(f"{item}.")


def _selectable(streams: Iterable[Stream]) -> list[str]:
    tags = {f"tag:{tag}" for stream in streams for tag in stream.tags}
    return [*(stream.name for stream in streams), *tags]


def _glob(table: str, glob: str) -> bool:
    return fnmatchcase(table if "." in glob else _last(table), glob)


def _qualified(table: str) -> str:
    return table if "." in table else f"public.{table}"


def _last(table: str) -> str:
    return table.rpartition(".")[2]


def _is_part(candidate: Stream, pattern: Stream) -> bool:
    return candidate.name.startswith(f"{pattern.name}.")


def _part(stream: Stream, table: str) -> Stream:
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", _last(table))
    name = f"{stream.name}.{safe}"
    return replace(
        stream,
        name=name,
        table=table,
        tables=(),
        exclude_tables=(),
        load=filled(stream.load, stream.source, name, table),
    )


def _output_key(stream: Stream, database_key: Sequence[str]) -> tuple[str, ...]:
    read = all(
        column not in stream.exclude and (not stream.include or column in stream.include)
        for column in database_key
    )
    renamed = {column.source: column.name for column in stream.columns if column.source}
    return tuple(renamed.get(column, column) for column in database_key) if read else ()


def _shared_targets(parts: Iterable[Stream], others: Iterable[Stream]) -> list[Problem]:
    taken = {other.load.target: other.name for other in others if not other.tables}
    problems = []
    for part in parts:
        if taken.setdefault(part.load.target, part.name) != part.name:
            problems.append(
                Problem(
                    f"{taken[part.load.target]} and {part.name} both load {part.load.target}",
                    f"streams.{part.name}.load.table",
                    fix='give one another table, or a template: table: "{source}_{table}"',
                )
            )
    return problems
