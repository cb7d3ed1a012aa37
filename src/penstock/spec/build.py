"""Checked models become the frozen dataclasses that the stages read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from penstock.pipeline import (
    Assertion,
    BadRows,
    Column,
    Expectation,
    Load,
    SchemaContract,
    SourceConfig,
    Step,
    Storage,
    Stream,
    WarehouseConfig,
)
from penstock.spec.models import COMMON, KeepModel, StorageModel
from penstock.spec.nodes import Node
from penstock.spec.notation import duration_s, ratio
from penstock.spec.stream_models import (
    EXPECTATION_KINDS,
    BadRowsModel,
    ColumnModel,
    ExpectationModel,
    FromModel,
    LoadModel,
    SchemaContractModel,
    StepModel,
    StreamModel,
)

_DURATIONS = ("statement_timeout",)


def source_config(name: str, model: BaseModel, node: Node) -> SourceConfig:
    """The source with its own options; durations among them are in seconds."""
    options = _options(model)
    return SourceConfig(
        name=name,
        type=str(options["type"]),
        options={key: value for key, value in options.items() if key not in COMMON},
        concurrency=options.get("concurrency", 1),
        naive_timestamps=options.get("naive_timestamps"),
        line=node.line,
    )


def warehouse_config(model: BaseModel, node: Node) -> WarehouseConfig:
    """The warehouse with its own options."""
    options = _options(model)
    type_ = str(options.pop("type"))
    return WarehouseConfig(type=type_, options=options, line=node.line)


def storage(model: StorageModel) -> Storage:
    """The storage root, with how it is reached."""
    keep = model.keep or KeepModel.model_validate({})
    options = _options(model)
    options.pop("keep", None)
    return Storage(
        url=str(options.pop("url")),
        keep_raw_s=_seconds(keep.raw),
        keep_staging_s=_seconds(keep.staging),
        keep_quarantine_s=_seconds(keep.quarantine),
        options=options,
    )


def stream(name: str, model: StreamModel, node: Node, variables: dict[str, str]) -> Stream:
    """The stream, with templates still in `load` and `write: auto` still to be settled."""
    read = model.from_ or FromModel.model_validate({})
    load = model.load or LoadModel.model_validate({})
    auto = load.write is None or load.write == "auto"
    columns = tuple(_column(key, column) for key, column in (model.columns or {}).items())
    renamed = {column.source: column.name for column in columns if column.source is not None}
    parallel = read.parallel
    return Stream(
        name=name,
        source=read.source or "",
        load=Load(
            schema=load.schema_ or "",
            table=load.table or "",
            write="replace" if load.write is None or load.write == "auto" else load.write,
            dist_key=load.dist_key,
            sort_key=tuple(load.sort_key or ()),
        ),
        line=node.line,
        tags=tuple(model.tags or ()),
        table=read.table,
        query=read.query,
        files=read.files,
        tables=tuple(read.tables or ()),
        exclude_tables=tuple(read.exclude_tables or ()),
        on_new_table=model.on_new_table or "load",
        where=read.where,
        include=tuple(read.include or ()),
        exclude=tuple(read.exclude or ()),
        cursor=read.cursor,
        initial_value=read.initial_value,
        lookback=_lookback(read.lookback),
        parallel_by=parallel.by if parallel is not None else None,
        slices=parallel.slices if parallel is not None else 1,
        format=_options(read.format) if read.format is not None else {},
        reupload=read.reupload or "replace",
        primary_key=tuple(model.primary_key or ()),
        version=model.version or _renamed(read.cursor, renamed),
        columns=columns,
        steps=tuple(
            _step(step, _line(node, "steps", i)) for i, step in enumerate(model.steps or ())
        ),
        expect=tuple(
            _expectation(rule, _line(node, "expect", i))
            for i, rule in enumerate(model.expect or ())
        ),
        asserts=_assertions(model, node),
        bad_rows=_bad_rows(model.bad_rows),
        schema_contract=_contract(model.schema_contract),
        freshness_s=_seconds(model.freshness),
        vars=variables,
        auto_write=auto,
    )


def _column(name: str, model: ColumnModel) -> Column:
    return Column(
        name=name,
        source=model.from_,
        type=model.type,
        format=model.format,
        timezone=model.timezone,
        mask=model.mask,
        key=model.key,
        too_long=model.too_long or "quarantine",
    )


def _step(model: StepModel, line: int) -> Step:
    if model.clean is not None:
        return Step("clean", _options(model.clean), line)
    if model.derive is not None:
        return Step("derive", dict(model.derive), line)
    if model.filter is not None:
        return Step("filter", {"where": model.filter}, line)
    if model.dedupe is not None:
        return Step("dedupe", _options(model.dedupe), line)
    return Step("sql", {"query": model.sql or "", "rows": model.rows or "keep"}, line)


def _expectation(model: ExpectationModel, line: int) -> Expectation:
    kind: Any = next(kind for kind in EXPECTATION_KINDS if getattr(model, kind) is not None)
    value = getattr(model, kind)
    if kind in ("not_null", "unique"):
        return Expectation(kind, {"columns": list(value)}, line)
    if kind == "expression":
        return Expectation(kind, {"sql": value}, line)
    return Expectation(kind, _options(value), line)


def _assertions(model: StreamModel, node: Node) -> tuple[Assertion, ...]:
    made = []
    for index, rule in enumerate(model.assert_ or ()):
        line = _line(node, "assert", index)
        if rule.unique is not None:
            made.append(Assertion("unique", {"columns": list(rule.unique)}, line))
        elif rule.row_count is not None:
            made.append(Assertion("row_count", _options(rule.row_count), line))
    return tuple(made)


def _bad_rows(model: BadRowsModel | None) -> BadRows:
    default = BadRows()
    if model is None:
        return default
    return BadRows(
        action=model.action or default.action,
        max_ratio=ratio(model.max) if model.max is not None else default.max_ratio,
        but_at_least_rows=(
            model.but_at_least if model.but_at_least is not None else default.but_at_least_rows
        ),
    )


def _contract(model: SchemaContractModel | None) -> SchemaContract:
    default = SchemaContract()
    if model is None:
        return default
    return SchemaContract(
        new_columns=model.new_columns or default.new_columns,
        changed_types=model.changed_types or default.changed_types,
    )


def _options(model: BaseModel) -> dict[str, Any]:
    """The model's given keys in JSON's own types, durations in seconds."""
    given = model.model_dump(by_alias=True)
    options: dict[str, Any] = {}
    for key, value in given.items():
        if value is None:
            continue
        if key in _DURATIONS:
            options[key] = duration_s(value)
        else:
            options[key] = _bare(value)
    return options


def _bare(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_bare(item) for item in value]
    return value


def _renamed(source: str | None, renamed: dict[str, str]) -> str | None:
    return None if source is None else renamed.get(source, source)


def _lookback(value: str | float | None) -> float:
    return duration_s(value) if isinstance(value, str) else float(value or 0)


def _seconds(value: str | None) -> float | None:
    return None if value is None else duration_s(value)


def _line(node: Node, key: str, index: int) -> int:
    items = node.get(key)
    return items.value[index].line if items is not None and items.is_list else node.line
