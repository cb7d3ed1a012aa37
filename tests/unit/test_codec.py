"""What is written as JSON comes back as it was, and what does not fit is rejected."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import model, pipeline
from penstock.codec import from_json, pack, to_json, unpack
from penstock.errors import Rejected
from penstock.model import ChunkExtracted, ChunkId, Counts, Message, StreamKey, TargetDirty

KINDS = [
    kind
    for module in (model, pipeline)
    for kind in vars(module).values()
    if inspect.isclass(kind) and is_dataclass(kind) and kind.__module__ == module.__name__
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)  # fmt: skip
CHUNK_IDS = st.builds(
    ChunkId,
    stream=st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), max_size=8),
    run_id=st.from_regex(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}", fullmatch=True),
    slice=st.integers(0, 99_999),
    attempt=st.from_regex(r"[0-9a-f.]{0,8}", fullmatch=True),
    number=st.integers(0, 9_999_999),
)
SCALARS: Mapping[Any, st.SearchStrategy[Any]] = {
    Any: JSON,
    str: st.text(max_size=12),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    ChunkId: CHUNK_IDS,
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type hint."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in SCALARS:
        return SCALARS[kind]
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*(st.none() if a is type(None) else values(a) for a in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(values(a) for a in arguments))
    if origin is Mapping:
        return st.dictionaries(st.text(max_size=4), values(arguments[1]), max_size=2)
    hints = get_type_hints(kind)
    return st.builds(kind, **{f.name: values(hints[f.name]) for f in fields(kind)})


MESSAGES: st.SearchStrategy[Any] = st.one_of(*(values(kind) for kind in get_args(Message)))


def test_every_noun_is_under_test() -> None:
    assert len(KINDS) >= 30
    assert {"Plan", "Link", "Commit", "Receipt", "Pipeline"} <= {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_noun_comes_back_as_it_went(kind: type, data: st.DataObject) -> None:
    value = data.draw(values(kind))
    text = to_json(value)
    assert from_json(kind, text) == value
    assert from_json(kind, text.encode()) == value
    assert to_json(from_json(kind, text)) == text


@settings(max_examples=50, deadline=None)
@given(MESSAGES)
def test_every_message_comes_back_as_it_went(message: Message) -> None:
    text = pack(message)
    assert unpack(text) == message
    assert type(unpack(text)) is type(message)
    assert json.loads(text)["v"] == 1
    assert text.isascii()
    assert text.isprintable(), "SQS takes XML characters only"


@settings(max_examples=50, deadline=None)
@given(CHUNK_IDS)
def test_a_chunk_id_is_its_text(chunk: ChunkId) -> None:
    assert ChunkId.parse(str(chunk)) == chunk
    assert json.loads(to_json(chunk)) == str(chunk)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_equal_values_have_equal_texts(value: dict[str, Any]) -> None:
    text = to_json(value)
    assert to_json(dict(reversed(value.items()))) == text
    assert text.isascii()
    assert json.loads(text) == value


def test_the_wire_looks_like_this() -> None:
    """A change here breaks messages in flight and digests of stored pipelines."""
    message = ChunkExtracted(
        key=StreamKey("shop", "prod", "w1", "orders"),
        run_id="r",
        seq=7,
        chunk=ChunkId("orders", "r", 3, "", 12),
        generation=1,
        digest="d",
    )
    assert pack(message) == (
        '{"body":{"chunk":"orders/r/0003/000012","digest":"d","generation":1,'
        '"key":{"environment":"prod","pipeline":"shop","stream":"orders","warehouse_id":"w1"},'
        '"run_id":"r","seq":7},"type":"chunk_extracted","v":1}'
    )
    at = datetime.fromisoformat("2026-11-23T07:00:00.000001+01:00")
    assert to_json({"at": at, "é": (1, "☃")}) == (
        '{"at":"2026-11-23T06:00:00.000001+00:00","\\u00e9":[1,"\\u2603"]}'
    )


def test_a_key_of_a_newer_writer_is_ignored() -> None:
    text = '{"read":5,"good":5,"of_a_later_version":{"x":1}}'
    assert from_json(Counts, text) == Counts(read=5, good=5)


def test_a_key_that_is_missing_takes_its_default_or_is_rejected() -> None:
    assert from_json(Counts, "{}") == Counts()
    with pytest.raises(Rejected, match="StreamKey lacks 'stream'"):
        from_json(StreamKey, '{"pipeline":"p","environment":"e","warehouse_id":"w"}')


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "1", "null", '"x"', "{", "[" * 100_000, '{"key": 1, "digest": "d"}'],
    ids=lambda text: text[:12] or "empty",
)
def test_what_is_no_message_is_rejected_with_its_text(text: str) -> None:
    for read in (unpack, lambda text: from_json(TargetDirty, text)):
        with pytest.raises(Rejected, match=r"not a (message|TargetDirty)"):
            read(text)


@pytest.mark.parametrize(("version", "name"), [(2, "target_dirty"), (1, "later"), (1, ["x"])])
def test_a_message_of_another_version_or_name_is_rejected(version: int, name: object) -> None:
    with pytest.raises(Rejected, match="is not known here"):
        unpack(json.dumps({"v": version, "type": name, "body": {}}))


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), data=st.data())
def test_what_does_not_fit_is_rejected_and_nothing_else_happens(
    kind: type, data: st.DataObject
) -> None:
    """One field of a right value is replaced by anything."""
    plain = json.loads(to_json(data.draw(values(kind))))
    if isinstance(plain, dict) and plain:
        plain[data.draw(st.sampled_from(sorted(plain)))] = data.draw(JSON)
    else:
        plain = data.draw(JSON)
    try:
        value = from_json(kind, json.dumps(plain))
    except Rejected:
        return
    assert from_json(kind, to_json(value)) == value


@dataclass(frozen=True)
class Every:
    text: str = ""
    whole: int = 0
    number: float = 0
    flag: bool = False
    choice: Literal["a", "b"] = "a"
    maybe: int | None = None
    many: tuple[str, ...] = ()
    pair: tuple[str, int] = ("", 0)
    at: datetime | None = None
    counts: Mapping[str, int] | None = None


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": 1},
        {"text": None},
        {"whole": "1"},
        {"whole": 1.5},
        {"whole": True},
        {"number": "1"},
        {"flag": 1},
        {"choice": "c"},
        {"maybe": "1"},
        {"many": "text"},
        {"many": [1]},
        {"pair": ["x"]},
        {"at": "yesterday"},
        {"at": "2026-11-23T06:00:00"},
        {"counts": []},
        {"counts": {"x": "y"}},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_rejected(wrong: dict[str, object]) -> None:
    with pytest.raises(Rejected, match="not a Every"):
        from_json(Every, json.dumps(wrong))


def test_a_whole_number_is_a_number() -> None:
    assert from_json(Every, '{"number":1,"maybe":null}') == Every(number=1)
