"""Quarantined rows, read back from the files that commit records name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from penstock import layout
from penstock.engine import connect, literal
from penstock.model import ChunkId, File, Plan, StreamKey
from penstock.observe.report import BadRows
from penstock.pipeline import Stream
from penstock.runtimes.workspace import Workspace
from penstock.stages.state import RunState, read_plans, read_run

if TYPE_CHECKING:
    import duckdb

COLUMNS = (
    "stream", "run_id", "chunk", "generation", "rule", "column", "value", "reason", "position",
    "row", "quarantined_at",
)  # fmt: skip
_AT_ONCE = 200
"""Files that one statement reads; a store that is not local fetches as many at a time."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """A quarantine file, and the rules that its rows broke."""

    plan: Plan
    chunk: ChunkId
    generation: int
    file: File
    discarded: bool


def bad_files(workspace: Workspace, streams: Iterable[Stream], run: str = "") -> Iterator[BadFile]:
    """The quarantine files that count, oldest run first: the wanted generation of each chunk.

    Shape: only runs that left something under quarantine/ are read; `run` is a run id's start.
    """
    for stream in streams:
        key = workspace.key(stream.name)
        with_files = _runs_with_files(workspace, key)
        for plan in read_plans(workspace.journal, key):
            if plan.run_id in with_files and plan.run_id.startswith(run):
                state = read_run(workspace.journal, workspace.store, plan)
                yield from files_of(workspace, state)


def _runs_with_files(workspace: Workspace, key: StreamKey) -> set[str]:
    prefix = f"quarantine/{key.pipeline}/{key.stream}/"
    return {
        item.key.removeprefix(prefix).partition("/")[0] for item in workspace.store.list(prefix)
    }


def files_of(workspace: Workspace, state: RunState) -> Iterator[BadFile]:
    """The quarantine files of one run, in the order of its chunks."""
    plan = state.plan
    entries = workspace.journal.scan(layout.discarded_entries(plan.key, plan.run_id))
    discarded = {entry.key: entry.value["generation"] for entry in entries}
    for chunk in sorted(state.commits):
        commit = state.commits[chunk]
        entry = layout.discarded_entry(plan.key, chunk)
        is_discarded = discarded.get(entry) == commit.generation
        for file in commit.quarantine:
            yield BadFile(plan, chunk, commit.generation, file, is_discarded)


@contextmanager
def bad_rows(
    workspace: Workspace, files: Sequence[BadFile]
) -> Iterator[tuple[duckdb.DuckDBPyConnection, str, Path]]:
    """A connection, a FROM clause that has every row of these files, and a folder to write to."""
    with TemporaryDirectory(dir=workspace.folder) as folder:
        paths = [workspace.store.fetch(item.file.key, Path(folder)) for item in files]
        folders = sorted({Path(folder), *(path.parent for path in paths)})
        with connect(folders) as connection:
            listed = ", ".join(literal(str(path)) for path in paths)
            yield connection, f"read_parquet([{listed}], union_by_name = true)", Path(folder)


def grouped(workspace: Workspace, files: Sequence[BadFile]) -> tuple[BadRows, ...]:
    """How many rows broke which rule in which column, each with an example, most first."""
    groups: dict[tuple[str, str, str], BadRows] = {}
    for start in range(0, len(files), _AT_ONCE):
        with bad_rows(workspace, files[start : start + _AT_ONCE]) as (connection, rows, _):
            found = connection.execute(
                "SELECT stream, rule, coalesce(\"column\", ''), count(*), any_value(reason), "
                f"any_value(value), any_value(position) FROM {rows} GROUP BY 1, 2, 3"
            ).fetchall()
        for stream, rule, column, count, reason, value, position in found:
            before = groups.get((stream, rule, column))
            groups[stream, rule, column] = BadRows(
                stream,
                rule,
                column,
                count + (before.rows if before else 0),
                before.reason if before else reason or "",
                before.value if before else value,
                before.position if before else position or "",
            )
    return tuple(sorted(groups.values(), key=lambda group: (-group.rows, group.rule)))
