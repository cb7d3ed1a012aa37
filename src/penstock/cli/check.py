"""`penstock check`: every problem of the file at once, and an answer from everything it names."""

from __future__ import annotations

import json as json_text
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.failures import redacted
from penstock.cli.opened import chosen, opened
from penstock.cli.show import as_json, document, say, table
from penstock.errors import PenstockError, Problem, SpecError
from penstock.pipeline import Pipeline, SourceConfig, Stream
from penstock.runtimes.workspace import Workspace
from penstock.spec.check import warnings
from penstock.spec.resolve import load_pipeline
from penstock.spec.secrets import missing_references

app = options.single()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source, the warehouse or a pattern said when it was asked."""

    kind: str
    name: str
    ok: bool
    said: str


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock check",
        "penstock check --offline --env prod",
        "penstock check --resolved",
        "penstock check --json-schema > .penstock/pipeline.schema.json",
    ),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only the file: no source, no warehouse, no secret.")
    ] = False,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the merged file, each value with its line.")
    ] = False,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the schema of the file, for editors.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show every problem of the file at once, and let every source and the warehouse answer.

    Exit 0: all is well. 2: the file or a secret is wrong. 1: something does not answer.
    """
    if json_schema:
        _print_schema()
        return
    if resolved:
        from penstock.spec.show import resolved_text

        say(resolved_text(file, env).rstrip("\n"))
        return
    pipeline = load_pipeline(file, env)
    found = warnings(pipeline)
    missing = () if offline else missing_references(pipeline, os.environ)
    answers: list[Answer] = []
    if not offline and not missing:
        with opened(file, env) as workspace:
            answers = list(_answers(workspace, select, exclude))
    if json:
        document(_as_document(pipeline, found, missing, answers))
    else:
        _print(pipeline, found, missing, answers, offline=offline)
    raise typer.Exit(2 if missing else int(not all(answer.ok for answer in answers)))


def _print_schema() -> None:
    from penstock.spec.schema import json_schema

    document(json_schema())


def _answers(
    workspace: Workspace, select: list[str] | None, exclude: list[str] | None
) -> Iterator[Answer]:
    pipeline = workspace.pipeline
    names = {source.name for source in pipeline.sources}
    if select or exclude:
        picked = _picked(workspace, select, exclude)
        names = {stream.source for stream in picked}
    down = set()
    for source in pipeline.sources:
        if source.name not in names:
            continue
        try:
            said = workspace.source(source.name).check()
            yield Answer("source", source.name, ok=True, said=said + _unclaimed(workspace, source))
        except PenstockError as error:
            down.add(source.name)
            yield Answer("source", source.name, ok=False, said=str(error))
    yield _warehouse_answer(workspace)
    if not down:
        yield _streams_answer(workspace)


def _unclaimed(workspace: Workspace, source: SourceConfig) -> str:
    names = workspace.unclaimed(source.name)
    if not names:
        return ""
    files = f"{len(names)} files that no stream takes" if len(names) > 1 else "a file of no stream"
    return f"; {files}, e.g. {names[0]}"


def _picked(
    workspace: Workspace, select: list[str] | None, exclude: list[str] | None
) -> tuple[Stream, ...]:
    """The streams by the file alone where that is enough, else as the sources have them."""
    try:
        return chosen(workspace.pipeline.streams, select, exclude)
    except SpecError:
        return chosen(workspace.concrete().streams, select, exclude)


def _warehouse_answer(workspace: Workspace) -> Answer:
    warehouse = workspace.open_warehouse()
    name, known = workspace.pipeline.warehouse.type, workspace.warehouse_id()
    try:
        warehouse.open(read_only=True)
    except PenstockError as error:
        if type(error) is PenstockError and known is None:
            return Answer("warehouse", name, ok=True, said="not there yet; the first run makes it")
        return Answer("warehouse", name, ok=False, said=str(error))
    try:
        identity = warehouse.identity()
        if known is not None and identity != known:
            workspace.meet_warehouse(warehouse)
        said = f"answers, id {identity}" if identity else "answers; the first run sets it up"
        return Answer("warehouse", name, ok=True, said=said)
    except PenstockError as error:
        return Answer("warehouse", name, ok=False, said=str(error))
    finally:
        warehouse.close()


def _streams_answer(workspace: Workspace) -> Answer:
    """Patterns and `write: auto` asked of the sources."""
    try:
        streams = workspace.concrete().streams
    except PenstockError as error:
        return Answer("streams", "", ok=False, said=str(error))
    for stream in streams:
        try:
            if stream.files is None:
                workspace.source(stream.source).describe(stream)
        except PenstockError as error:
            return Answer("streams", stream.name, ok=False, said=str(error))
    said = f"{len(streams)} stream{'s' if len(streams) != 1 else ''}"
    return Answer("streams", "", ok=True, said=said)


def _print(
    pipeline: Pipeline,
    found: tuple[Problem, ...],
    missing: tuple[Problem, ...],
    answers: list[Answer],
    *,
    offline: bool,
) -> None:
    for problem in missing:
        say(str(problem), "red")
    for warning in found:
        say(f"warning: {warning}", "yellow")
    good = [answer for answer in answers if answer.ok]
    if good:
        table(("", "", ""), ((f"ok  {a.kind}", a.name, a.said) for a in good))
    for answer in answers:
        if not answer.ok:
            say(f"  --  {answer.kind}  {answer.name}", "red")
            for line in answer.said.splitlines():
                say(f"      {line}")
    if not missing and all(answer.ok for answer in answers):
        asked = "the file is right; nothing was asked" if offline else "everything answers"
        say(f"{pipeline.name}, environment {pipeline.environment}: {asked}", "green")


def _as_document(
    pipeline: Pipeline,
    found: tuple[Problem, ...],
    missing: tuple[Problem, ...],
    answers: list[Answer],
) -> dict[str, object]:
    text = json_text.dumps(
        {
            "pipeline": pipeline.name,
            "environment": pipeline.environment,
            "ok": not missing and all(answer.ok for answer in answers),
            "problems": as_json(missing),
            "warnings": as_json(found),
            "answers": as_json(answers),
        }
    )
    made: dict[str, object] = json_text.loads(redacted(text))
    return made
