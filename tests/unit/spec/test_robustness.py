"""Whatever stands in the file: a pipeline, or problems with lines; never another error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import Problem, SpecError
from penstock.spec.nodes import plain
from penstock.spec.parse import parse
from penstock.spec.resolve import load_pipeline
from penstock.spec.wire import from_json, to_json

EXAMPLE = Path(__file__).parents[2] / "golden" / "spec" / "example"
ODD = (
    *(None, True, 1, -1, 1.5, 10**30, "", "x y", "*", "5m", "1%", "é\u2028", "{table}", "{x"),
    *("${var:first_day}", "${var:nowhere}", "${env:X}", "${bad", "$${x}"),
    *([], {}, ["a", {"b": 1}], {"a": {"b": [1]}}),
)


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if at:
        yield at
    if isinstance(value, (dict, list)):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from places(value[key], (*at, key))


def with_odd(value: Any, at: tuple[str | int, ...], odd: Any) -> None:
    """The value with `odd` at that place, if the place is still there."""
    for key in at[:-1]:
        inside = key in value if isinstance(value, dict) else isinstance(value, list) and value
        value = value[key] if inside else None
    if isinstance(value, dict) or (isinstance(value, list) and value):
        value[at[-1]] = odd


BASE = plain(parse((EXAMPLE / "pipeline.yaml").read_text("utf-8"), "pipeline.yaml")[0])


@settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(st.sampled_from(list(places(BASE))), st.sampled_from(ODD)), min_size=1, max_size=3
    )
)
def test_any_value_anywhere_gives_a_pipeline_or_problems(
    tmp_path: Path, changes: list[tuple[tuple[str | int, ...], Any]]
) -> None:
    value = json.loads(json.dumps(BASE))
    for at, odd in changes:
        with_odd(value, at, odd)
    (tmp_path / "sql").mkdir(exist_ok=True)
    (tmp_path / "sql" / "orders.sql").write_text("select * from input")
    path = tmp_path / "pipeline.yaml"
    path.write_text(json.dumps(value), "utf-8")
    problems: tuple[Problem, ...] = ()
    try:
        pipeline = load_pipeline(path, environ={})
    except SpecError as error:
        problems = error.problems
    else:
        assert from_json(to_json(pipeline), pipeline.directory) == pipeline
    assert all(p.what and p.where.startswith("pipeline.yaml") for p in problems)
