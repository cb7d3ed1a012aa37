from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.errors import SpecError
from penstock.pipeline import Load as LoadConfig
from penstock.pipeline import Pipeline, SourceConfig, Storage, Stream, WarehouseConfig
from penstock.spec.references import is_sql, references
from penstock.spec.secrets import (
    env_name,
    missing_references,
    open_options,
    read_env_file,
    read_reference,
)

from .conftest import Load, Refuse


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(
        name="shop",
        environment="dev",
        sources=(SourceConfig("db", "postgres", {"secret": "shop/db"}),),
        warehouse=WarehouseConfig("duckdb", {"path": "${env:DUCK}.duckdb"}),
        storage=Storage("./data"),
        streams=(Stream("orders", "db", LoadConfig("shop", "orders", "replace")),),
        directory=str(tmp_path),
    )


def test_variables_are_bound_in_sql_and_replaced_elsewhere(load: Load) -> None:
    stream = load(
        """
vars: {day: "2023-01-01", low: 5, name: "it's"}
streams:
  orders:
    description: "from ${var:day}"
    from: {source: db, table: public.orders, where: "day >= ${var:day}", cursor: day,
           initial_value: "${var:day}"}
    steps:
      - derive: {a: "coalesce(x, ${var:low})"}
    expect:
      - expression: "n <> ${var:name}"
      - accepted_values: {column: n, values: ["${var:name}"]}
"""
    ).streams[0]
    assert stream.where == "day >= $day"
    assert stream.initial_value == "2023-01-01"
    assert stream.steps[0].options == {"a": "coalesce(x, $low)"}
    assert stream.expect[0].options == {"sql": "n <> $name"}
    assert stream.expect[1].options["values"] == ["it's"]
    assert stream.vars == {"day": "2023-01-01", "low": "5", "name": "it's"}


def test_a_stream_called_derive_or_where_is_no_sql() -> None:
    assert not is_sql(("streams", "derive", "description"))
    assert not is_sql(("sources", "db", "query"))
    assert is_sql(("streams", "a", "steps", "[0]", "derive", "x"))
    assert is_sql(("environments", "dev", "streams", "a", "from", "where"))


def test_secrets_and_environment_stay_references_in_the_pipeline(load: Load) -> None:
    pipeline = load(
        "streams: {a: {from: {source: db, table: t},\n"
        '  columns: {e: {mask: hash, key: "${secret:k}"}}}}',
        head="version: 1\npipeline: p\nvars: {u: app}\nsources:\n"
        '  db: {type: postgres, host: "${env:HOST}", user: "${var:u}", password: "${secret:p}"}\n',
    )
    options = pipeline.sources[0].options
    assert options == {"host": "${env:HOST}", "user": "app", "password": "${secret:p}"}
    column = pipeline.streams[0].column("e")
    assert column is not None
    assert column.key == "${secret:k}"


def test_two_dollars_are_a_literal_everywhere(load: Load, pipeline: Pipeline) -> None:
    head = (
        "version: 1\npipeline: p\n"
        'sources: {db: {type: postgres, host: h, password: "a$${env:X}"}}\n'
    )
    loaded = load('streams: {a: {from: {source: db, table: t}, tags: ["$${x}"]}}', head=head)
    assert loaded.streams[0].tags == ("${x}",)
    opened = open_options(loaded.sources[0].options, pipeline, {"X": "no"})
    assert opened["password"] == "a${env:X}"


def test_a_variable_that_looks_like_a_reference_is_never_read_as_one(
    load: Load, pipeline: Pipeline
) -> None:
    head = (
        'version: 1\npipeline: p\nvars: {v: "$${env:X}"}\n'
        'sources: {db: {type: postgres, host: h, password: "${var:v}"}}\n'
    )
    loaded = load("streams: {a: {from: {source: db, table: t}}}", head=head)
    assert open_options(loaded.sources[0].options, pipeline, {"X": "no"})["password"] == "${env:X}"


def test_a_reference_inside_an_sql_comment_or_string_is_refused(refuse: Refuse) -> None:
    for where in (
        "a = '${var:x}'",
        'a = \\"${var:x}\\"',
        "a = 1 -- ${var:x}",
        "a = $q$ ${var:x} $q$",
    ):
        body = (
            f'vars: {{x: 1}}\nstreams: {{a: {{from: {{source: db, table: t, where: "{where}"}}}}}}'
        )
        assert "stands inside a quoted text" in refuse(body)


def test_references_are_found_with_their_field() -> None:
    found = list(references("a${env:X}b${secret:s/p#user}$${env:Y}"))
    assert [(r.kind, r.name, r.field) for r in found] == [
        ("env", "X", None),
        ("secret", "s/p", "user"),
    ]


def test_the_environment_wins_over_the_env_file(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# comment\nexport A=one\nB='two # three'\nC=four # five\n\nD=\"six\"\n"
    )
    text = "${env:A} ${env:B} ${env:C} ${secret:d}"
    assert read_reference(text, pipeline, {}) == "one two # three four six"
    assert read_reference(text, pipeline, {"A": "zero"}) == "zero two # three four six"


def test_a_line_of_the_env_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nwhat is this\n")
    with pytest.raises(SpecError, match=r"(?s)not NAME=value.*\.env:2"):
        read_env_file(tmp_path / ".env")


def test_a_missing_secret_prints_its_export_line(pipeline: Pipeline) -> None:
    with pytest.raises(SpecError) as caught:
        read_reference("${secret:shop/db-1}", pipeline, {}, "sources.db.password")
    assert "export SHOP_DB_1='…'" in str(caught.value)
    assert "sources.db.password" in str(caught.value)


def test_every_missing_reference_is_listed_at_once(pipeline: Pipeline) -> None:
    problems = missing_references(pipeline, {})
    assert [problem.where for problem in problems] == ["warehouse.path", "sources.db.secret"]
    assert 'export SHOP_DB=\'{"host": "…"' in problems[1].fix
    secret = json.dumps({"host": "h"})
    assert missing_references(pipeline, {"DUCK": "d", "SHOP_DB": secret}) == ()


def test_an_rds_secret_fills_what_the_options_leave_open(pipeline: Pipeline) -> None:
    secret = {"host": "h", "port": 5432, "dbname": "d", "username": "u", "password": "p@#/"}
    opened = open_options(
        {"secret": "shop/db", "database": "other"}, pipeline, {"SHOP_DB": json.dumps(secret)}
    )
    expected = {"host": "h", "port": 5432, "database": "other", "user": "u", "password": "p@#/"}
    assert opened == expected


@pytest.mark.parametrize("text", ["no json", "[1]", '"text"'])
def test_an_rds_secret_that_is_no_object_is_refused_without_showing_it(
    pipeline: Pipeline, text: str
) -> None:
    with pytest.raises(SpecError, match="is no JSON object") as caught:
        open_options({"secret": "shop/db"}, pipeline, {"SHOP_DB": text})
    assert text not in str(caught.value)


def test_a_field_of_a_json_secret_is_read_and_a_missing_one_names_the_others(
    pipeline: Pipeline,
) -> None:
    environ = {"S": json.dumps({"user": "u", "port": 5})}
    assert read_reference("${secret:s#user}:${secret:s#port}", pipeline, environ) == "u:5"
    with pytest.raises(SpecError, match='has no field "usr"') as caught:
        read_reference("${secret:s#usr}", pipeline, environ)
    assert 'did you mean "user"?' in str(caught.value)


def test_secrets_in_files_are_a_folder_or_a_json_file(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / ".secrets" / "shop").mkdir(parents=True)
    (tmp_path / ".secrets" / "shop" / "db").write_text("from folder\n")
    (tmp_path / ".secrets" / "api.json").write_text('{"key": "k"}')
    (tmp_path / "all.json").write_text('{"shop/db": "from json"}')
    folder = replace(pipeline, secrets_from="file")
    assert read_reference("${secret:shop/db} ${secret:api#key}", folder, {}) == "from folder k"
    one = replace(folder, secrets_path="all.json")
    assert read_reference("${secret:shop/db}", one, {}) == "from json"
    with pytest.raises(SpecError, match='did you mean "shop/db"'):
        read_reference("${secret:shop/dc}", one, {})
    with pytest.raises(SpecError, match="is not there"):
        read_reference("${secret:nowhere}", folder, {})
    with pytest.raises(SpecError, match="no name of a secret"):
        read_reference("${secret:../all.json}", folder, {})


def test_a_password_in_a_url_is_encoded_and_a_host_is_not(pipeline: Pipeline) -> None:
    options = {"url": "postgresql://${env:U}:${env:P}@${env:HOST}/d"}
    environ = {"U": "app", "P": "p@ss/#1", "HOST": "h:5432"}
    opened = open_options(options, pipeline, environ)
    assert opened["url"] == "postgresql://app:p%40ss%2F%231@h:5432/d"
    assert open_options({"url": "${env:URL}"}, pipeline, {"URL": "x://a@b"})["url"] == "x://a@b"


def test_the_name_of_a_secret_in_the_environment_is_upper_case_with_underscores() -> None:
    assert [env_name(name) for name in ("shop/db", "mask-key", "a.b/c-d")] == [
        *("SHOP_DB", "MASK_KEY", "A_B_C_D")
    ]
