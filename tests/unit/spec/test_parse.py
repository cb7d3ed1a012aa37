from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import SpecError
from penstock.spec.nodes import plain
from penstock.spec.parse import parse, read_text


def value(text: str) -> object:
    node, problems = parse(f"x: {text}\n", "p.yaml")
    assert problems == []
    return plain(node)["x"]


@pytest.mark.parametrize(
    "text",
    ["NO", "on", "off", "yes", "12:30", "001234", "2024-01-01", "2024-01-01 10:00:00", "1_000"],
)
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text: str) -> None:
    assert value(text) == text


def test_core_types_are_null_booleans_and_numbers() -> None:
    assert value("[~, null, true, False, 0, -3, 1.5, 1e3, 0x1F, 0o17]") == [
        *(None, None, True, False, 0, -3, 1.5, 1000.0, 31, 15)
    ]


@pytest.mark.parametrize("text", ["123456789.12345678901", ".inf", ".nan", "1e999"])
def test_a_number_that_a_double_cannot_hold_stays_text(text: str) -> None:
    assert value(text) == text


def test_quotes_and_block_scalars_make_text_of_anything() -> None:
    node, _ = parse("a: \"1\"\nb: 'true'\nc: |\n  select 1\nd: !!str 12\n", "p.yaml")
    assert plain(node) == {"a": "1", "b": "true", "c": "select 1\n", "d": "12"}


def test_every_value_knows_the_line_of_its_key() -> None:
    node, _ = parse("a:\n  b:\n    - c\n    - d: >\n        long\n", "p.yaml")
    assert node.get("a", "b") is not None
    items = node.value["a"].value["b"].value
    assert [node.value["a"].line, node.value["a"].value["b"].line] == [1, 2]
    assert [items[0].line, items[1].value["d"].line] == [3, 4]
    assert items[1].value["d"].path == ("a", "b", "[1]", "d")


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    node, problems = parse("x-a: &a {p: 1, q: 2}\nb: {<<: *a, q: 3}\nc: *a\n", "p.yaml")
    assert problems == []
    assert plain(node)["b"] == {"p": 1, "q": 3}
    assert plain(node)["c"] == {"p": 1, "q": 2}


def test_anchors_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(SpecError, match="too many values"):
        parse("\n".join(lines), "p.yaml")


def test_a_utf_8_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\n")
    assert plain(parse(read_text(path), "p.yaml")[0]) == {"version": 1}


def test_a_missing_file_names_the_verb_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no pipeline file at") as caught:
        read_text(tmp_path / "nowhere.yaml")
    assert "penstock init" in str(caught.value)


def test_a_folder_is_no_pipeline_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_text(tmp_path)


def test_a_call_torn_at_its_comma_is_read_as_meant_and_reported_once() -> None:
    node, problems = parse("{type: decimal(12,2), x: 1}\n", "p.yaml")
    assert plain(node) == {"type": "decimal(12,2)", "x": 1}
    assert [problem.fix for problem in problems] == ['quote it: {type: "decimal(12,2)", x: 1}']
