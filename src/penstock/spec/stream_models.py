"""A stream of the pipeline file, key by key. Every key may be left to a layer below."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from penstock.spec.fields import (
    AnyText,
    ColumnType,
    Count,
    Duration,
    Flag,
    Lookback,
    Model,
    Names,
    Positive,
    Ratio,
    Scalar,
    Text,
    Texts,
    problem,
)


class ParallelModel(Model):
    by: Text = Field(description="column whose range is cut into slices, best the primary key")
    slices: Positive = Field(4, le=1000, description="how many slices")


class FormatModel(Model):
    type: Literal["csv", "tsv", "ndjson", "json", "parquet"] | None = Field(
        None, description="what the files are; default: by their names and first bytes"
    )
    delimiter: Text | None = Field(None, min_length=1)
    quote: Text | None = Field(None, max_length=1)
    escape: Text | None = Field(None, max_length=1)
    encoding: Text | None = Field(None, description="utf-8, latin1, cp1252, utf-16, …")
    header: Flag | None = Field(None, description="whether the first line names the columns")
    columns: Texts | None = Field(None, description="names, for files without a header")
    decimal: Literal[".", ","] | None = Field(None, description="decimal separator of numbers")
    thousands: Text | None = Field(None, max_length=1)
    null_values: Texts | None = Field(None, description="texts that mean NULL")
    skip_rows: Count | None = Field(None, description="lines before the header")
    comment: Text | None = Field(None, max_length=1)
    compression: Literal["none", "gzip", "zstd", "zip"] | None = None
    records: Text | None = Field(
        None, description="place of the records in a JSON file: data.items"
    )


class FromModel(Model):
    source: Text | None = Field(None, description="a name of `sources`")
    table: Text | None = Field(None, description="schema.table")
    query: Text | None = Field(None, description="a SELECT")
    query_file: Text | None = Field(None, description="a file that holds a SELECT")
    files: Text | None = Field(None, description="glob; {name} and {day:%Y%m%d} become columns")
    tables: Texts | None = Field(None, description="globs: one entry, many streams")
    exclude_tables: Texts | None = None
    where: Text | None = Field(None, description="pushed down to the source")
    include: Texts | None = Field(None, description="only these columns leave the source")
    exclude: Texts | None = Field(None, description="these columns never leave the source")
    cursor: Text | None = Field(None, description="column that grows with every change")
    initial_value: AnyText | None = Field(None, description="where the cursor starts")
    lookback: Lookback | None = Field(None, description="read this much again: 5m, or a number")
    parallel: ParallelModel | None = None
    format: FormatModel | None = None
    reupload: Literal["replace", "append", "ignore"] | None = Field(
        None, description="the same path again: replace that file's rows, append, or ignore"
    )


class ColumnModel(Model):
    from_: Text | None = Field(None, alias="from", description="its name at the source")
    type: ColumnType | None = Field(None, description="bigint, decimal(12,2), timestamptz, …")
    format: Text | None = Field(None, description="strptime format: %d.%m.%Y %H:%M")
    timezone: Text | None = Field(None, description="zone of values that carry none")
    mask: Literal["hash", "redact"] | None = None
    key: Text | None = Field(None, description="of the hash: ${secret:mask-key}")
    raw: Literal["keep"] | None = Field(None, description="raw files keep what a mask hides")
    too_long: Literal["quarantine", "truncate"] | None = None


class CleanModel(Model):
    trim: Names | None = Field(None, description='columns, or "*"')
    empty_as_null: Names | None = None
    collapse_spaces: Names | None = None
    lower: Names | None = None
    upper: Names | None = None


class DedupeModel(Model):
    by: Texts = Field(min_length=1)
    keep: Literal["first", "last"] = "last"


STEP_KINDS = ("clean", "derive", "filter", "sql", "sql_file", "dedupe", "use")


class StepModel(Model):
    clean: CleanModel | None = None
    derive: dict[str, Text] | None = Field(None, description="column: expression")
    filter: Text | None = Field(None, description="rows for which this is true stay")
    sql: Text | None = Field(None, description="SELECT … FROM input")
    sql_file: Text | None = Field(None, description="a file that holds SELECT … FROM input")
    rows: Literal["keep", "change"] | None = Field(None, description="of sql: one row in, many out")
    dedupe: DedupeModel | None = Field(None, description="within a chunk")
    use: Text | None = Field(None, description="a name of `step_sets`")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in STEP_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise problem(f"a step is one of {', '.join(STEP_KINDS)}", _apart(given))
        if self.rows is not None and given[0] not in ("sql", "sql_file"):
            raise problem("`rows` belongs to a sql step", "remove it")
        return self


class BetweenModel(Model):
    column: Text
    min: Scalar = None
    max: Scalar = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise problem("between takes min, max, or both", "min: 0")
        return self


class AcceptedValuesModel(Model):
    column: Text
    values: list[Scalar] = Field(min_length=1)


class MatchesModel(Model):
    column: Text
    pattern: Text = Field(description="regular expression, for the whole value")


EXPECTATION_KINDS = ("not_null", "between", "accepted_values", "matches", "expression", "unique")


class ExpectationModel(Model):
    not_null: Texts | None = Field(None, min_length=1)
    between: BetweenModel | None = None
    accepted_values: AcceptedValuesModel | None = None
    matches: MatchesModel | None = None
    expression: Text | None = Field(None, description="true for a good row; NULL passes")
    unique: Texts | None = Field(None, min_length=1, description="within a chunk")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in EXPECTATION_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise problem(f"a rule is one of {', '.join(EXPECTATION_KINDS)}", _apart(given))
        return self


class RowCountModel(Model):
    min: Count | None = None
    max: Count | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise problem("row_count takes min, max, or both", "min: 1")
        return self


class AssertionModel(Model):
    unique: Texts | None = Field(None, min_length=1, description="over the whole run")
    row_count: RowCountModel | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in ("unique", "row_count") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise problem("an assertion is one of unique, row_count", _apart(given))
        return self


class BadRowsModel(Model):
    action: Literal["quarantine", "fail", "keep"] | None = None
    max: Ratio | None = Field(None, description="share of bad rows a chunk may have: 1%")
    but_at_least: Count | None = Field(None, description="rows that are always allowed")


class SchemaContractModel(Model):
    new_columns: Literal["evolve", "freeze", "discard"] | None = None
    changed_types: Literal["evolve", "freeze", "discard"] | None = None


class LoadModel(Model):
    schema_: Text | None = Field(None, alias="schema", description="may hold {source}, {table}")
    table: Text | None = Field(None, description="may hold {source}, {schema}, {table}, {stream}")
    write: Literal["auto", "append", "merge", "replace"] | None = None
    dist_key: Text | None = None
    sort_key: Texts | None = None


class StreamModel(Model):
    tags: Texts | None = None
    description: Text | None = None
    from_: FromModel | None = Field(None, alias="from")
    on_new_table: Literal["load", "report"] | None = Field(None, description="with `tables`")
    primary_key: Texts | None = Field(None, min_length=1)
    version: Text | None = Field(None, description="the newest wins; default: the cursor")
    columns: dict[str, ColumnModel] | None = Field(None, description="by output name")
    steps: list[StepModel] | None = Field(None, description="in order, after `columns`")
    expect: list[ExpectationModel] | None = Field(None, description="rules for every row")
    assert_: list[AssertionModel] | None = Field(
        None, alias="assert", description="rules for a whole run; they hold its load"
    )
    bad_rows: BadRowsModel | None = None
    schema_contract: SchemaContractModel | None = None
    freshness: Duration | None = Field(None, description="promise: data is no older than this")
    load: LoadModel | None = None

    @model_validator(mode="before")
    @classmethod
    def _blank_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value


def _apart(given: list[str]) -> str:
    return f"make them items of their own: {', '.join(given)}" if given else ""
