"""NDJSON and JSON documents: each record is kept as its text, or is an error."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from penstock.sources.formats.jsontext import MAX_DEPTH

from .support import Read, read_all, read_text, source_over, stream_of


def types(read: Read) -> dict[str, str]:
    return {field.name: field.type for field in read.fields}


def records(read: Read) -> list[Any]:
    return [json.loads(row["_penstock_json"]) for row in read.good]


def lines(*values: Any) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def test_fields_are_found_in_every_record_and_have_a_path(tmp_path: Path) -> None:
    content = lines(
        {"id": 1, "who": {"name": "José", "at": {"zip": "0150"}}, "tags": ["a"], "ok": True},
        {"id": 2, "who": {"name": None, "age": 7}, "empty": {}, "odd key": "x", 'a"b.c': 1},
    )
    read = read_text(tmp_path, content, "x.ndjson")
    assert {field.name: (field.type, field.path) for field in read.fields} == {
        "id": ("bigint", "$.id"),
        "who__name": ("varchar", "$.who.name"),
        "who__at__zip": ("varchar", "$.who.at.zip"),
        "who__age": ("bigint", "$.who.age"),
        "tags": ("json", "$.tags"),
        "ok": ("boolean", "$.ok"),
        "empty": ("json", "$.empty"),
        "odd key": ("varchar", '$."odd key"'),
        'a"b.c': ("bigint", '$."a\\"b.c"'),
    }
    assert read.lines == [1, 2]


TYPES = {
    "whole numbers": ([1, -2, 9223372036854775807], "bigint"),
    "beyond bigint": ([1, 9223372036854775808], "decimal(20,0)"),
    "far beyond bigint": ([12345678901234567890123], "decimal(38,0)"),
    "money": ([1, 2.5, -1234.56], "decimal(18,2)"),
    "three decimals": ([0.125], "decimal(18,4)"),
    "many digits": ([0.1234567890123], "double"),
    "exponents": ([1e300, 2.5], "double"),
    "texts": (["a", None], "varchar"),
    "nothing but null": ([None], "varchar"),
    "texts and numbers": (["a", 1], "varchar"),
    "booleans and numbers": ([True, 1], "varchar"),
    "lists": ([[1], ["a"]], "json"),
    "objects and texts": ([{"x": 1}, "a"], "json"),
}


@pytest.mark.parametrize(("values", "expected"), TYPES.values(), ids=TYPES.keys())
def test_a_fields_type_fits_every_value(tmp_path: Path, values: list[Any], expected: str) -> None:
    read = read_text(tmp_path, lines(*({"v": value} for value in values)), "x.ndjson")
    assert types(read) == {"v": expected}


def test_names_that_differ_only_in_case_or_by_flattening_are_told_apart(tmp_path: Path) -> None:
    read = read_text(tmp_path, lines({"a": 1, "A": 2, "b__c": 3, "b": {"c": 4}}), "x.ndjson")
    assert [(f.name, f.path) for f in read.fields] == [
        ("a", "$.a"),
        ("A_2", "$.A"),
        ("b__c", "$.b__c"),
        ("b__c_2", "$.b.c"),
    ]


BROKEN = {
    "trailing comma in an object": ('{"a":1,}', "not JSON"),
    "trailing comma in an array": ('{"a":[1,]}', "not JSON"),
    "two objects on a line": ('{"a":1} {"a":2}', "more text after the record"),
    "truncated array": ('{"a":[1,2', "ends too early"),
    "no object": ("[1,2]", "not an object but an array"),
    "a number": ("5", "not an object but a text or number"),
    "null": ("null", "not an object but null"),
    "a key twice": ('{"a":1,"a":2}', "key 'a' stands twice"),
    "a nested key twice": ('{"b":{"a":1,"a":2}}', "key 'a' stands twice"),
    "a NUL escape": ('{"a":"x\\u0000y"}', "NUL character"),
    "a NUL byte": ('{"a":"x\0y"}', "NUL byte"),
    "NaN": ('{"a":NaN}', "NaN is no number"),
    "infinity": ('{"a": -Infinity}', "no number"),
    "half a surrogate pair": ('{"a":"\\ud800"}', "half of a surrogate pair"),
    "no JSON at all": ("hello", "not JSON"),
    "single quotes": ("{'a':1}", "not JSON"),
    "too deep": ('{"a":' * 300 + "1" + "}" * 300, f"deeper than {MAX_DEPTH}"),
    "so deep that recursion would end the process": ("[" * 100_000 + "]" * 100_000, "deeper than"),
    "bytes that are not UTF-8": ('{"a":"caf\udce9"}', "not utf-8"),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("name", ["x.ndjson", "x.json"])
def test_a_record_that_is_no_json_object_is_an_error_of_its_line(
    tmp_path: Path, text: str, reason: str, name: str
) -> None:
    content = f'{{"a":1}}\n{text}\n{{"a":2}}\n'.encode("utf-8", "surrogateescape")
    read = read_text(tmp_path, content, name, type="ndjson")
    assert records(read) == [{"a": 1}, {"a": 2}]
    assert read.lines == [1, 3]
    ((line, error, _),) = read.bad
    assert line == 2
    assert reason in error


def test_what_only_looks_loose_is_read(tmp_path: Path) -> None:
    values = [{"a": "x, ]"}, {"a": ": nan,"}, {"a": "\\u0000 as text"}, {"a": "information"}]
    read = read_text(tmp_path, lines(*values), "x.ndjson")
    assert (records(read), read.bad) == (values, [])


def test_blank_lines_line_ends_and_marks_do_not_matter(tmp_path: Path) -> None:
    read = read_text(tmp_path, b'\xef\xbb\xbf{"a":1}\r\n\r\n  {"a":2}', "x.ndjson")
    assert (records(read), read.lines) == ([{"a": 1}, {"a": 2}], [1, 3])
    for name, fmt in [("x.ndjson", {}), ("x.txt", {}), ("x.txt", {"encoding": "utf-16"})]:
        read = read_text(tmp_path, '{"a":"é東"}\n'.encode("utf-16"), name, **fmt)
        assert records(read)[-1] == {"a": "é東"}


DOCUMENTS = {
    "array": ('[{"a":1},\n  {"a":2}]', [{"a": 1}, {"a": 2}]),
    "one object": ('{\n  "a": 1,\n  "b": [1, 2]\n}\n', [{"a": 1, "b": [1, 2]}]),
    "objects one after another": ('{"a":1}{"a":2}\n{"a":3}', [{"a": 1}, {"a": 2}, {"a": 3}]),
    "brackets and quotes in texts": (
        '[{"a":"]}\\"{["},{"a":"\\\\"}]',
        [{"a": ']}"{['}, {"a": "\\"}],
    ),
    "an empty array": ("[ ]", []),
    "nothing": ("", []),
}


@pytest.mark.parametrize(("text", "expected"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
@pytest.mark.parametrize("block_bytes", [None, 5])
def test_documents_are_cut_into_records(
    tmp_path: Path, text: str, expected: list[Any], block_bytes: int | None
) -> None:
    read = read_text(tmp_path, text.encode(), "x.json", block_bytes=block_bytes)
    assert (records(read), read.bad) == (expected, [])
    assert read.lines == list(range(1, len(expected) + 1))


def test_json_lines_named_json_are_read_as_lines(tmp_path: Path) -> None:
    read = read_text(tmp_path, b'{"a":1}\n\n{"a":2}\n', "x.json")
    assert read.lines == [1, 3]


BROKEN_DOCUMENTS = {
    "a comma before the end": ('[{"a":1},]', 1, [(2, "a comma before the end of the array")]),
    "no comma": ('[{"a":1} {"a":2}]', 1, [(2, "no comma before this record")]),
    "two commas": ('[{"a":1},,{"a":2}]', 2, [(2, "a comma without a record before it")]),
    "an array that is not closed": ('[{"a":1}', 1, [(2, "the file ends before its array does")]),
    "a record cut off": ('[{"a":1},{"a":', 1, [(2, "the file ends inside this record")]),
    "text after the array": ('[{"a":1}] x', 1, [(2, "text after the end of the array")]),
    "elements that are no objects": (
        '[{"a":1},5,null]',
        1,
        [(2, "not an object but a text or number"), (3, "not an object but null")],
    ),
    "a line break in a text": ('[{"a":"x\ny"},{"a":1}]', 1, [(1, "not JSON: invalid control")]),
    "a closing bracket too many": ('{"a":1}}', 1, [(2, "'}' between records")]),
}


@pytest.mark.parametrize(
    ("text", "good", "bad"), BROKEN_DOCUMENTS.values(), ids=BROKEN_DOCUMENTS.keys()
)
@pytest.mark.parametrize("block_bytes", [None, 6])
def test_what_is_wrong_with_a_document_is_an_error_in_its_place(
    tmp_path: Path, text: str, good: int, bad: list[tuple[int, str]], block_bytes: int | None
) -> None:
    read = read_text(tmp_path, text.encode(), "x.json", block_bytes=block_bytes, type="json")
    assert len(read.good) == good
    assert [line for line, _, _ in read.bad] == [line for line, _ in bad]
    for (_, error, _), (_, expected) in zip(read.bad, bad, strict=True):
        assert error.startswith(expected)


def test_records_names_the_array_within_a_document(tmp_path: Path) -> None:
    content = b'{"meta":{"items":[9]},"data":{"n":1,"items":[{"a":1},{"a":2}]},"z":[}'
    read = read_text(tmp_path, content, "x.json", records="data.items")
    assert (records(read), read.bad) == ([{"a": 1}, {"a": 2}], [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"meta":1}', "there is no key 'data'"),
        (b"[1]", "no object that could hold 'data'"),
        (b'{"x":', "not found before the file ends"),
    ],
)
def test_records_that_are_not_there_are_an_error_of_the_file(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    read = read_text(tmp_path, content, "x.json", records="data", type="json")
    ((line, error, _),) = read.bad
    assert line == 1
    assert reason in error


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\é{}[],\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.text("abc", min_size=1), VALUE, max_size=4), max_size=8)


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(RECORDS, st.booleans(), st.integers(5, 60), st.booleans())
def test_records_of_any_shape_survive_blocks_of_any_size_and_any_resume(
    values: list[Any], document: bool, block_bytes: int, ascii_only: bool
) -> None:
    text = (
        json.dumps(values, indent=1, ensure_ascii=ascii_only)
        if document
        else "".join(json.dumps(value, ensure_ascii=ascii_only) + "\n" for value in values)
    )
    name, fmt = ("x.json", "json") if document else ("x.ndjson", "ndjson")
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        read = read_text(folder, text.encode(), name, block_bytes=block_bytes, type=fmt)
        assert (records(read), read.bad) == (values, [])
        source, stream = source_over(folder, block_bytes), stream_of("*", format={"type": fmt})
        seen = 0
        for piece in read.pieces[:-1][:3]:
            seen += piece.rows
            rest = read_all(source, stream, position=piece.position)
            assert records(rest) == values[seen:]
