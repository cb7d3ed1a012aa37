"""A pipeline file becomes a Pipeline: merged, checked as a whole, every problem at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penstock.errors import Problem, SpecError
from penstock.pipeline import Pipeline, SourceConfig, Stream
from penstock.spec import build
from penstock.spec.check import refusals
from penstock.spec.hints import place
from penstock.spec.layers import File, Merged, choose_environment, environment_names, merge_layers
from penstock.spec.models import FileModel, ResolvedModel, SecretsModel, StorageModel
from penstock.spec.nodes import Node, plain
from penstock.spec.parse import parse, read_text
from penstock.spec.problems import problems_of
from penstock.spec.references import Substitution
from penstock.spec.rules import source_problems, stream_problems, target_problems
from penstock.spec.stream_models import StreamModel
from penstock.spec.streams import filled, settle_write

ENVIRONMENT_VARIABLE = "PENSTOCK_ENV"
_FREE = "x-"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A pipeline, and the merged nodes it was made of (for `check --resolved`)."""

    pipeline: Pipeline
    merged: Merged
    file: File


def load_pipeline(
    path: str | Path,
    environment: str | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Pipeline:
    """The pipeline of this file in one environment, everything resolved but references.

    Shape: `flags` has the shape of an environment: {"limit_rows": 10, "vars": {…}, "streams": {…}}.
    Raises: SpecError with every problem of the file, in every environment, in the order of lines.
    """
    return resolve(path, environment, flags, environ).pipeline


def resolve(
    path: str | Path,
    environment: str | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """What `load_pipeline` returns, with the nodes it was made of.

    Raises: SpecError as `load_pipeline` does.
    """
    asked = environment or (os.environ if environ is None else environ).get(ENVIRONMENT_VARIABLE)
    path = Path(path)
    root, problems = parse(read_text(path), path.name)
    root = root.without(*(key for key, _ in root.items() if key.startswith(_FREE)))
    file = File(root, path.name, path.parent)
    chosen = _chosen(file, asked, problems)
    merged = merge_layers(file, chosen, flags or {})
    others = [merge_layers(file, other, {}) for other in environment_names(root) if other != chosen]
    for one in (merged, *others):
        problems += one.problems
    checked = _shape_problems(file, merged)
    made = [_pipeline(file, one, checked) for one in (merged, *others)]
    if problems or checked or made[0] is None:
        raise _refused(file, problems, checked)
    return Resolved(made[0], merged, file)


def _chosen(file: File, asked: str | None, problems: list[Problem]) -> str:
    try:
        return choose_environment(file, asked)
    except SpecError as error:
        problems.extend(error.problems)
        return next(iter(environment_names(file.root)), "default")


def _shape_problems(file: File, merged: Merged) -> list[Problem]:
    """What is wrong with the file as written, parts that are not used included.

    Sources and the warehouse are left out: an environment may complete them.
    """
    written = Substitution(merged.variables, file.name).apply(file.root)
    try:
        FileModel.model_validate(plain(written))
    except ValidationError as error:
        found = problems_of(error, FileModel, written, file.name)
        details = error.errors(include_url=False)
        return [
            problem
            for problem, detail in zip(found, details, strict=True)
            if detail["loc"][0] not in ("sources", "warehouse") or len(detail["loc"]) == 1
        ]
    return _version_problems(file)


def _version_problems(file: File) -> list[Problem]:
    node = file.root.value["version"]
    if node.value == 1:
        return []
    where = place(file.name, node.line, node.path)
    what = f"version {node.value} of the pipeline file is not known here"
    return [Problem(what, where, fix="version: 1")]


def _pipeline(file: File, merged: Merged, problems: list[Problem]) -> Pipeline | None:
    """The pipeline, if there are no problems at all; else they are added."""
    top: ResolvedModel | None = None
    try:
        top = ResolvedModel.model_validate(plain(merged.top))
    except ValidationError as error:
        problems += problems_of(error, ResolvedModel, merged.top, file.name)
    problems += source_problems(merged.top, file.name)
    problems += target_problems(merged.top, file.name)
    made = (_stream(name, file, merged, problems) for name in merged.streams)
    streams = tuple(stream for stream in made if stream is not None)
    problems += _shared_targets(file, streams)
    return None if problems or top is None else _assembled(file, merged, top, streams)


def _stream(name: str, file: File, merged: Merged, problems: list[Problem]) -> Stream | None:
    """The stream, if nothing is wrong with it; else its problems are added."""
    node, found = merged.streams[name], len(problems)
    model: StreamModel | None = None
    try:
        model = StreamModel.model_validate(plain(node))
    except ValidationError as error:
        problems += problems_of(error, StreamModel, node, file.name)
    problems += stream_problems(node, merged.top, file.name)
    if model is None or name in merged.broken or len(problems) > found:
        return None
    stream = build.stream(name, model, node, merged.bound[name])
    limit = merged.settings.get("limit_rows")
    if limit is not None and isinstance(limit.value, int):
        stream = replace(stream, limit_rows=int(limit.value))
    return _settled(stream, node, file, problems)


def _assembled(
    file: File, merged: Merged, top: ResolvedModel, streams: tuple[Stream, ...]
) -> Pipeline:
    sources = merged.top.value["sources"]
    secrets = top.secrets or SecretsModel.model_validate({})
    protected = merged.settings.get("protected")
    warehouse: Any = top.warehouse
    storage = top.storage or StorageModel.model_validate({})
    return Pipeline(
        name=top.pipeline,
        environment=merged.environment,
        sources=tuple(_source(n, m, sources) for n, m in top.sources.items()),
        warehouse=build.warehouse_config(warehouse, merged.top.value["warehouse"]),
        storage=build.storage(storage),
        streams=streams,
        description=top.description or "",
        owner=top.owner or "",
        protected=protected is not None and protected.value is True,
        secrets_from=secrets.from_,
        secrets_path=secrets.path,
        directory=str(file.directory),
    )


def _source(name: str, model: Any, sources: Node) -> SourceConfig:
    return build.source_config(name, model, sources.value[name])


def _settled(stream: Stream, node: Node, file: File, problems: list[Problem]) -> Stream:
    """The stream with templates filled and its write settled, as far as the file alone can say."""
    if not stream.tables:
        load = filled(stream.load, stream.source, stream.name, stream.table)
        stream = replace(stream, load=load)
    found = [
        Problem(what, _place_of(node, keys, file), why, fix)
        for keys, what, why, fix in refusals(stream, key_is_known=False)
    ]
    problems += found
    if found or not stream.auto_write:
        return stream
    may_have_key = stream.table is not None or bool(stream.tables)
    if may_have_key and not stream.primary_key:
        return stream
    try:
        return settle_write(stream)[0]
    except SpecError as error:
        problems += error.problems
        return stream


def _shared_targets(file: File, streams: Sequence[Stream]) -> list[Problem]:
    taken: dict[str, str] = {}
    problems = []
    for stream in streams:
        target = stream.load.target
        if not stream.tables and taken.setdefault(target, stream.name) != stream.name:
            where = place(file.name, stream.line, ("streams", stream.name, "load", "table"))
            what = f"{taken[target]} and {stream.name} both load {target}"
            problems.append(Problem(what, where, fix="give one of them another table or schema"))
    return problems


def _place_of(node: Node, keys: tuple[str, ...], file: File) -> str:
    found = node
    for key in keys:
        found = found.get(key) or found
    return place(file.name, found.line, found.path)


def _refused(file: File, references: Sequence[Problem], others: Sequence[Problem]) -> SpecError:
    """One error with each problem once, in the order of lines.

    A value with a reference that could not be replaced is no further problem.
    """
    places = {problem.where for problem in references if "${" in problem.what}
    unique = dict.fromkeys([*references, *(p for p in others if p.where not in places)])
    ordered = sorted(unique, key=lambda problem: _line(problem.where))
    count = f"{len(ordered)} problems" if len(ordered) != 1 else "1 problem"
    return SpecError(f"{count} in {file.name}", problems=tuple(ordered))


def _line(where: str) -> int:
    number = where.partition(" ")[0].rpartition(":")[2]
    return int(number) if number.isdigit() else 0
