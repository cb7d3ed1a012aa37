"""A pipeline opened for one verb: its file read, its parts open, its streams chosen."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from penstock.cli.show import note
from penstock.errors import PenstockError, Rejected, SpecError, Transient
from penstock.model import Plan
from penstock.pipeline import Pipeline, Stream
from penstock.ports import Warehouse
from penstock.runtimes.replay import known_pipeline
from penstock.runtimes.workspace import Workspace, open_workspace
from penstock.spec.resolve import load_pipeline
from penstock.spec.streams import select as select_streams
from penstock.stages.state import read_plans

PATIENCE_TRIES = 40
PAUSE_S = 0.25


@contextmanager
def opened(
    file: Path, environment: str | None, *, writes: bool = False, yes: bool = False
) -> Iterator[Workspace]:
    """The workspace of a pipeline file; closed after the block.

    Raises: SpecError for what is wrong in the file, and when a protected environment is not
    agreed to.
    """
    pipeline = load_pipeline(file, environment)
    if writes and pipeline.protected and not yes:
        _ask(pipeline)
    workspace = open_workspace(pipeline, os.environ)
    try:
        yield workspace
    finally:
        workspace.close()


def _ask(pipeline: Pipeline) -> None:
    place = f"environment {pipeline.environment} of {pipeline.name}"
    if sys.stdin.isatty():
        typer.confirm(f"{place} is protected. Go on?", abort=True, err=True)
        return
    raise SpecError(f"{place} is protected", fix="say --yes")


def state_folder(workspace: Workspace) -> Path:
    """Where journal, queue, logs and reports of this environment lie."""
    return workspace.folder.parent


@contextmanager
def open_to_read(workspace: Workspace) -> Iterator[Warehouse]:
    """The warehouse, read only, while nobody else writes; waits a little for whoever does.

    Raises: Transient, saying who holds it, after a few seconds.
    """
    warehouse = workspace.open_warehouse()
    _open_patiently(warehouse, read_only=True)
    try:
        yield warehouse
    finally:
        warehouse.close()


def _open_patiently(warehouse: Warehouse, *, read_only: bool) -> None:
    for attempt in range(PATIENCE_TRIES):
        try:
            warehouse.open(read_only=read_only)
            return
        except Transient as error:
            if attempt == PATIENCE_TRIES - 1:
                raise
            if attempt == 4:
                note(f"waiting: {error.what}")
            threading.Event().wait(PAUSE_S)


def meet(workspace: Workspace, *, start_anew: bool = False) -> None:
    """The warehouse is the one that the journal knows (rule 9 of the pipeline file).

    Why: when another process holds the warehouse and the journal knows it, that process has met
    it, and the loader of this one will: there is no need to wait.
    Raises: Broken when it is another one, or an empty one, unless `start_anew`.
    """
    warehouse = workspace.open_warehouse()
    try:
        warehouse.open()
    except Transient:
        if workspace.warehouse_id() is not None and not start_anew:
            return
        _open_patiently(warehouse, read_only=False)
    try:
        workspace.meet_warehouse(warehouse, start_anew=start_anew)
    finally:
        warehouse.close()


def chosen(
    streams: Sequence[Stream], select: Sequence[str] | None, exclude: Sequence[str] | None
) -> tuple[Stream, ...]:
    """The streams that --select and --exclude leave.

    Raises: SpecError with near names when nothing is left.
    """
    return select_streams(streams, tuple(select or ()), tuple(exclude or ()))


def streams_with_state(workspace: Workspace) -> tuple[Stream, ...]:
    """Every stream of the file and of the journal, without asking a source.

    Shape: patterns and write modes are as earlier runs found them; a stream of a pattern is known
    once it has run, and one that left the file is as its newest run had it.
    """
    named = {stream.name: stream for stream in workspace.pipeline.streams if not stream.tables}
    if workspace.warehouse_id() is None:
        return tuple(named.values())
    named |= {stream.name: stream for stream in known_pipeline(workspace).streams}
    for name in workspace.known_streams():
        found = None if name in named else _as_planned(workspace, name)
        if found is not None:
            named[name] = found
    return tuple(named.values())


def _as_planned(workspace: Workspace, name: str) -> Stream | None:
    newest: Plan | None = None
    for plan in read_plans(workspace.journal, workspace.key(name)):
        newest = plan if plan.by_hand is None else newest
    if newest is None:
        return None
    try:
        return workspace.stream_of(newest.digest, name)
    except Rejected:
        return None


def one_stream(workspace: Workspace, name: str) -> Stream:
    """The stream of this name that has state or stands in the file.

    Raises: SpecError with near names if there is none.
    """
    return chosen(streams_with_state(workspace), [name], None)[0]


def find_plans(workspace: Workspace, prefix: str) -> list[tuple[Stream, Plan]]:
    """The runs whose id starts with `prefix`, in every stream.

    Raises: SpecError if there is none.
    """
    found = [
        (stream, plan)
        for stream in streams_with_state(workspace)
        for plan in read_plans(workspace.journal, workspace.key(stream.name))
        if plan.run_id.startswith(prefix)
    ]
    if not found:
        raise SpecError(f"no run starts with {prefix}", fix="penstock runs lists them")
    return found


def who() -> str:
    """The person at the keyboard, for records of what was done by hand."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def failed(error: PenstockError) -> str:
    """The first line of an error."""
    return error.what.partition("\n")[0]
