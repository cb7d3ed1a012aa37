from __future__ import annotations

import pytest

from penstock.spec.nodes import merge, node_of, plain

from .conftest import HEAD, Load, Refuse

ORDERS = "streams:\n  orders:\n    from: {source: db, table: public.orders}\n"


def merged(*layers: object) -> object:
    node = node_of(layers[0], ())
    for layer in layers[1:]:
        node = merge(node, node_of(layer, ()))
    return plain(node)


def test_maps_merge_lists_and_scalars_replace_and_null_removes() -> None:
    below = {"a": {"x": 1, "y": 2}, "b": [1, 2], "c": 1, "d": 1}
    above = {"a": {"y": 3}, "b": [9], "c": 2, "d": None}
    assert merged(below, above) == {"a": {"x": 1, "y": 3}, "b": [9], "c": 2}


def test_null_over_nothing_is_nothing() -> None:
    assert merged({"a": 1}, {"b": {"x": None, "y": 1}, "c": None}) == {"a": 1, "b": {"y": 1}}


def test_a_map_of_another_type_replaces_the_one_below_whole() -> None:
    below = {"type": "duckdb", "path": "x"}
    assert merged(below, {"type": "postgres", "host": "h"}) == {"type": "postgres", "host": "h"}
    assert merged(below, {"path": "y"}) == {"type": "duckdb", "path": "y"}


def test_what_null_removed_a_higher_layer_may_set_again() -> None:
    assert merged({"a": {"x": 1}}, {"a": None}, {"a": {"y": 2}}) == {"a": {"y": 2}}


def test_each_layer_wins_over_the_one_below(load: Load) -> None:
    body = """
defaults: {freshness: 1h, bad_rows: {max: 5%}}
environments:
  dev: {default: true}
  prod: {streams: {orders: {freshness: 4h}}}
streams:
  every:
    from: {source: db, tables: ["public.*"]}
    freshness: 2h
  orders:
    from: {source: db, table: public.orders}
    freshness: 3h
  items:
    from: {source: db, table: public.items}
  other:
    from: {source: db, table: crm.other}
"""
    hours = {s.name: (s.freshness_s or 0) / 3600 for s in load(body).streams}
    assert hours == {"every": 2, "orders": 3, "items": 2, "other": 1}
    assert load(body).streams[0].bad_rows.max_ratio == 0.05
    assert load(body).streams[0].bad_rows.but_at_least_rows == 100
    prod = load(body, "prod").stream("orders")
    assert prod is not None
    assert prod.freshness_s == 4 * 3600
    flagged = load(body, "prod", {"streams": {"orders": {"freshness": "5h"}}}).stream("orders")
    assert flagged is not None
    assert flagged.freshness_s == 5 * 3600


def test_a_named_table_inherits_from_the_pattern_it_leaves_but_stays_one_table(load: Load) -> None:
    body = """
streams:
  every:
    from: {source: db, tables: ["*"], exclude_tables: [tmp_*], cursor: updated_at}
    on_new_table: report
    primary_key: [id]
  orders:
    from: {source: db, table: public.orders, cursor: null}
  tmp_orders:
    from: {source: db, table: public.tmp_orders}
"""
    every, orders, tmp = load(body).streams
    assert every.load.write == "merge"
    assert (orders.primary_key, orders.tables, orders.cursor) == (("id",), (), None)
    assert orders.on_new_table == "load"
    assert tmp.primary_key == ()


def test_a_table_of_another_source_or_of_two_patterns_inherits_from_none(load: Load) -> None:
    body = """
streams:
  every: {from: {source: db, tables: ["public.*"]}, primary_key: [id]}
  more: {from: {source: db, tables: ["*.orders"]}, primary_key: [no]}
  other: {from: {source: db2, table: public.items}}
  orders: {from: {source: db, table: public.orders}}
"""
    head = HEAD + "  db2: {type: postgres, host: h}\n"
    pipeline = load(body, head=head)
    assert [s.primary_key for s in pipeline.streams] == [("id",), ("no",), (), ()]


def test_environments_do_not_inherit_from_each_other(load: Load) -> None:
    body = (
        "environments:\n  dev: {default: true, limit_rows: 7, vars: {a: dev}}\n"
        '  prod: {protected: true, storage: {url: "s3://b/p"}}\nvars: {a: base}\n'
        + ORDERS
        + '    tags: ["${var:a}"]\n'
    )
    dev, prod = load(body), load(body, "prod")
    assert (dev.environment, dev.streams[0].limit_rows, dev.protected) == ("dev", 7, False)
    assert (prod.environment, prod.streams[0].limit_rows, prod.protected) == ("prod", None, True)
    assert (dev.storage.url, prod.storage.url) == ("./data", "s3://b/p")
    assert (dev.streams[0].tags, prod.streams[0].tags) == (("dev",), ("base",))


def test_the_environment_is_asked_for_or_in_penstock_env_or_the_default(load: Load) -> None:
    body = "environments: {dev: {default: true}, prod: {}, test: {}}\n" + ORDERS
    assert load(body).environment == "dev"
    assert load(body, environ={"PENSTOCK_ENV": "test"}).environment == "test"
    assert load(body, "prod", environ={"PENSTOCK_ENV": "test"}).environment == "prod"
    assert load(ORDERS).environment == "default"


def test_an_unknown_environment_names_near_ones(refuse: Refuse) -> None:
    body = "environments: {dev: {default: true}, prod: {}}\n" + ORDERS
    assert 'did you mean "prod"?' in refuse(body, environment="prd")
    assert "names no environments" in refuse(ORDERS, environment="prod")


def test_an_environment_may_complete_a_source_and_is_checked_even_if_not_chosen(
    load: Load, refuse: Refuse
) -> None:
    head = "version: 1\npipeline: shop\nsources: {db: {type: postgres}}\n"
    env = "environments:\n  dev: {default: true, sources: {db: {host: a}}}\n"
    assert load(env + ORDERS, head=head).sources[0].options == {"host": "a"}
    message = refuse(env + "  prod: {warehouse: {path: p, pth: q}}\n" + ORDERS, head=head)
    assert "pipeline.yaml:6 environments.prod.warehouse.pth" in message
    assert "pipeline.yaml:3 sources.db" in message


def test_limit_rows_as_a_flag_wins_over_the_environment(load: Load) -> None:
    body = "environments: {dev: {default: true, limit_rows: 7}}\n" + ORDERS
    assert load(body, flags={"limit_rows": 3}).streams[0].limit_rows == 3


def test_x_keys_are_free_and_can_hold_anchors(load: Load) -> None:
    body = "x-shared: &shared {freshness: 2h}\n" + ORDERS + "    <<: *shared\n"
    assert load(body).streams[0].freshness_s == 7200


def test_templates_name_the_target(load: Load) -> None:
    body = """
defaults: {load: {schema: "raw_{source}", table: "{source}_{table}"}}
streams:
  orders: {from: {source: db, table: public.orders}}
  sales: {from: {source: up, files: "*.csv"}}
  every: {from: {source: db, tables: ["crm.*"]}}
"""
    assert [s.load.target for s in load(body).streams] == [
        "raw_db.db_orders",
        "raw_up.up_sales",
        "raw_{source}.{source}_{table}",
    ]


def test_built_in_values_hold_where_the_file_says_nothing(load: Load) -> None:
    pipeline = load(ORDERS)
    assert (pipeline.warehouse.type, pipeline.warehouse.options) == (
        "duckdb",
        {"path": "shop.duckdb"},
    )
    assert (pipeline.storage.url, pipeline.secrets_from) == ("./data", "env")
    assert pipeline.streams[0].load.target == "shop.orders"
    assert pipeline.storage.keep_raw_s is None


def test_step_sets_and_sql_files_are_written_out_where_they_are_used(load: Load) -> None:
    body = (
        "vars: {low: 3}\nstep_sets:\n"
        '  tidy: [{clean: {trim: "*"}}, {filter: "a > ${var:low}"}]\n'
        + ORDERS
        + "    steps: [{use: tidy}, {sql_file: sql/a.sql, rows: change}]\n"
        + "  q:\n    from: {source: db, query_file: sql/q.sql}\n"
    )
    files = {
        "sql/a.sql": "select * from input where b < ${var:low}\n",
        "sql/q.sql": "select 1 as id, '$${x}' as text",
    }
    orders, q = load(body, files=files).streams
    assert [(step.kind, step.options) for step in orders.steps] == [
        ("clean", {"trim": ["*"]}),
        ("filter", {"where": "a > $low"}),
        ("sql", {"query": "select * from input where b < $low", "rows": "change"}),
    ]
    assert orders.vars == {"low": "3"}
    assert (q.query, q.vars) == ("select 1 as id, '${x}' as text", {})


@pytest.mark.parametrize("text", ["1.10", "007", "true", "12345", "1e3"])
def test_a_password_is_the_text_as_written(load: Load, text: str) -> None:
    head = (
        f"version: 1\npipeline: p\nsources: {{db: {{type: postgres, host: h, password: {text}}}}}\n"
    )
    assert load(ORDERS, head=head).sources[0].options["password"] == text
