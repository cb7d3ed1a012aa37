"""What is made of a pipeline file: canonical JSON, the merged file, the editor's schema."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from penstock.errors import Rejected, SpecError
from penstock.spec import registry
from penstock.spec.nodes import Node, plain
from penstock.spec.notation import TYPES, NotationError, column_type, duration_s, ratio
from penstock.spec.parse import parse
from penstock.spec.resolve import load_pipeline
from penstock.spec.schema import json_schema
from penstock.spec.show import resolved_text
from penstock.spec.wire import digest, from_json, to_json

from .conftest import HEAD, Load

EXAMPLE = Path(__file__).parents[2] / "golden" / "spec" / "example" / "pipeline.yaml"


def test_the_example_of_the_format_loads() -> None:
    pipeline = load_pipeline(EXAMPLE, environ={})
    assert [(s.name, s.load.target, s.load.write) for s in pipeline.streams] == [
        ("shop_tables", "raw_shop.{source}_{table}", "replace"),
        ("orders", "analytics.orders", "merge"),
        ("store_sales", "raw_shop.uploads_store_sales", "append"),
    ]
    orders = pipeline.streams[1]
    assert [step.kind for step in orders.steps] == ["clean", "derive", "filter", "sql"]
    assert (orders.lookback, orders.slices, orders.limit_rows) == (300.0, 8, 100000)
    assert [(a.kind, a.options) for a in orders.asserts] == [
        ("unique", {"columns": ["order_no"]}),
        ("row_count", {"min": 1}),
    ]
    assert pipeline.storage.keep_raw_s == 30 * 86400


# ---- JSON


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_pipeline_comes_back_from_json_exactly(environment: str) -> None:
    pipeline = load_pipeline(EXAMPLE, environment, environ={})
    text = to_json(pipeline)
    back = from_json(text, pipeline.directory)
    assert back == pipeline
    assert to_json(back) == text
    assert text.isascii()


def test_a_pipeline_holds_only_what_json_holds() -> None:
    def walk(value: Any) -> None:
        if is_dataclass(value) and not isinstance(value, type):
            for field in fields(value):
                walk(getattr(value, field.name))
        elif isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)
        else:
            assert type(value) in (str, int, float, bool, type(None)), repr(value)

    walk(load_pipeline(EXAMPLE, environ={}))


def test_the_digest_is_of_the_content_and_not_of_the_folder(load: Load) -> None:
    pipeline = load("streams: {a: {from: {source: db, table: t}}}")
    assert digest(replace(pipeline, directory="/elsewhere")) == digest(pipeline)
    assert digest(replace(pipeline, owner="me")) != digest(pipeline)
    assert "directory" not in json.loads(to_json(pipeline))


def test_text_that_is_no_pipeline_is_rejected() -> None:
    with pytest.raises(Rejected, match="not a Pipeline"):
        from_json("{}")


# ---- the merged file


def test_the_merged_file_says_where_each_value_stands(load: Load, tmp_path: Path) -> None:
    load(
        """environments:
  dev: {default: true}
  prod: {limit_rows: 5, streams: {orders: {freshness: 2h}}}
step_sets:
  tidy: [{clean: {trim: "*"}}]
defaults: {tags: [all]}
streams:
  every: {from: {source: db, tables: [orders]}, primary_key: [id]}
  orders:
    from: {source: db, table: public.orders}
    steps: [{use: tidy}]
"""
    )
    text = resolved_text(tmp_path / "pipeline.yaml", "prod", environ={})
    orders = text[text.index("  orders:") :]
    lines = {line.split("#")[0].strip(): line.split("#")[-1].strip() for line in orders.split("\n")}
    assert lines["table: public.orders"] == "line 15"
    assert lines["freshness: 2h"] == "environment prod, line 8"
    assert lines["tags: [all]"] == "defaults, line 11"
    assert lines["primary_key: [id]"] == "every, line 13"
    assert lines['trim: "*"'] == "step_sets.tidy, line 10"
    assert lines["write: auto"] == "built in"
    assert lines["limit_rows: 5"] == "environment prod, line 8"


def test_the_merged_file_is_yaml_with_the_merged_values() -> None:
    text = resolved_text(EXAMPLE, "prod", environ={})
    node, problems = parse(text, "resolved.yaml")
    assert problems == []
    orders = node.get("streams", "orders")
    assert isinstance(orders, Node)
    assert plain(orders)["expect"][2]["accepted_values"]["values"] == ["NO", "SE"]
    assert plain(orders)["columns"]["ordered_at"]["format"] == "%d.%m.%Y %H:%M"
    assert plain(node)["warehouse"] == {"type": "postgres", "secret": "dwh"}
    written = EXAMPLE.parent / "resolved.txt"
    assert text == written.read_text("utf-8")


def test_the_merged_file_shows_no_password(load: Load, tmp_path: Path) -> None:
    head = (
        "version: 1\npipeline: p\nsources:\n  a: {type: postgres, host: h, password: hush}\n"
        '  b: {type: postgres, url: "postgres://u:hush@h/d"}\n'
        '  c: {type: postgres, url: "postgres://u:${secret:c}@h/d"}\n'
        "  d: {type: files, url: ./x, secret_access_key: hush}\n"
    )
    load(
        "streams: {x: {from: {source: a, table: t}, columns: {e: {mask: hash, key: hush}}}}",
        head=head,
    )
    text = resolved_text(tmp_path / "pipeline.yaml", environ={})
    assert "hush" not in text
    assert "postgres://u:***@h/d" in text
    assert "postgres://u:${secret:c}@h/d" in text


# ---- schema


def errors(value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema())
    return [error.message for error in validator.iter_errors(value)]


def test_the_schema_is_a_schema_and_takes_the_example() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    node, _ = parse(EXAMPLE.read_text("utf-8"), "pipeline.yaml")
    assert errors(plain(node)) == []


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    node, _ = parse(HEAD + "streams: {a: {from: {source: db, table: t}}}", "p.yaml")
    good = plain(node)
    assert errors(good) == []
    assert errors({**good, "x-free": {"any": 1}}) == []
    for bad in (
        {**good, "version": 2},
        {**good, "streems": {}},
        {**good, "streams": {"a": {"load": {"write": "upsert"}}}},
        {**good, "streams": {"a": {"freshness": "soon"}}},
        {**good, "streams": {"a": {"steps": [{"fillter": "x"}]}}},
        {**good, "sources": {"db": {"type": "postgres", "prot": 1}}},
        {**good, "sources": {"db": {"host": "h"}}},
        {**good, "environments": {"dev": {"defult": True}}},
    ):
        assert errors(bad), bad


def test_the_schema_completes_and_explains_keys() -> None:
    schema = json_schema()
    stream = schema["$defs"]["StreamModel"]["properties"]
    assert {"from", "primary_key", "columns", "steps", "expect", "assert", "load"} <= set(stream)
    assert "title" not in stream["tags"]
    assert schema["$defs"]["FromModel"]["properties"]["cursor"]["description"]
    assert "title" not in schema["$defs"]["FromModel"]


# ---- notation and registry


def test_durations_and_shares_have_one_notation() -> None:
    assert [duration_s(t) for t in ("90s", "5m", "1.5h", "30d")] == [90, 300, 5400, 2592000]
    assert [ratio(t) for t in ("1%", "0.5%", "100 %")] == [0.01, 0.005, 1]
    for text in ("5", "5 m", "m", "1h30m", "-5m", "1w"):
        with pytest.raises(NotationError):
            duration_s(text)
    for text in ("0.01", "101%", "%"):
        with pytest.raises(NotationError):
            ratio(text)


def test_column_types_have_one_spelling() -> None:
    assert column_type("Decimal(12, 2)") == "decimal(12,2)"
    assert column_type("decimal(9)") == "decimal(9,0)"
    assert column_type("VARCHAR(20)") == "varchar(20)"
    assert [t for t in TYPES if t != "decimal" and column_type(t) != t] == []
    for text in (
        "decimal(39,2)",
        "decimal(3,4)",
        "varchar(0)",
        "varchar(1,2)",
        "date(3)",
        "int",
        "",
    ):
        with pytest.raises(NotationError):
            column_type(text)


def test_every_type_of_the_registry_names_a_class_that_is_there() -> None:
    for kind in ("source", "warehouse"):
        assert registry.types(kind)
    with pytest.raises(SpecError, match='did you mean "postgres"'):
        registry.load_class("source", "postgress")


class Point:
    """An entry point, as importlib gives it."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.loaded = name, loaded

    def load(self) -> object:
        return self.loaded


def test_a_plug_in_brings_its_own_type_and_options(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ftp:
        option_names = frozenset({"host", "folder"})

    def points(group: str) -> list[Point]:
        return [Point("ftp", Ftp)] if group == "penstock.sources" else []

    monkeypatch.setattr(registry, "entry_points", points)
    body = "streams: {a: {from: {source: f, table: t}}}"
    head = "version: 1\npipeline: p\nsources: {f: {type: ftp, host: h, %s: x}}\n"
    assert registry.load_class("source", "ftp") is Ftp
    source = load(body, head=head % "folder").sources[0]
    assert (source.type, source.options) == ("ftp", {"host": "h", "folder": "x"})
    with pytest.raises(SpecError, match=r'(?s)unknown key "foldr".*did you mean "folder"'):
        load(body, head=head % "foldr")
