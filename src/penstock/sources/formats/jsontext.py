"""One JSON record: whether it is one, strictly, and what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NoReturn

MAX_DEPTH = 200
"""Why: DuckDB's JSON functions recurse; 100,000 brackets would end the process."""


_COMMA = re.compile(rb",\s*[\]}]")
_CONSTANT = re.compile(rb"[:\[,]\s*-?(?:nan|inf)", re.IGNORECASE)
_CONSTANTS = (b"NaN", b"nan", b"NAN", b"Inf", b"inf", b"INF")


def is_loose(block: bytes) -> bool:
    """Whether DuckDB may take text for JSON that is none: its reader is kinder than RFC 8259.

    Shape: true also for a comma before a bracket within a text, which `fault_of` then lets pass.
    """
    if _COMMA.search(block) or b"\\u0000" in block:
        return True
    return any(word in block for word in _CONSTANTS) and _CONSTANT.search(block) is not None


class _Object(list[tuple[str, object]]):
    """The pairs of an object, in order, doubles included."""


class _NotJson(ValueError):
    pass


def fault_of(text: str) -> str | None:
    """Why the text is no record; None for a JSON object that every part of Penstock can hold."""
    if "\0" in text:
        return "NUL byte"
    if depth_of(text) > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels"
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return f"not JSON: {_said(error, text)}"
    except _NotJson as error:
        return f"not JSON: {error}"
    if not isinstance(value, _Object):
        return f"not an object but {_kind(value)}"
    double = _double_key(value)
    if double is not None:
        return f"key {double!r} stands twice"
    if "\\u" in text:
        return _unholdable(value)
    return None


def depth_of(text: str) -> int:
    """How deeply arrays and objects nest, brackets in texts not counted."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest


def _no_constant(name: str) -> NoReturn:
    raise _NotJson(f"{name} is no number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object, parse_constant=_no_constant, parse_float=str, parse_int=str
)


def _said(error: json.JSONDecodeError, text: str) -> str:
    if error.msg.startswith("Extra data"):
        return f"more text after the record at character {error.pos + 1}"
    if error.pos >= len(text.rstrip()):
        return "it ends too early"
    return f"{error.msg.lower()} at character {error.pos + 1}"


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return "a text or number"


def _double_key(value: _Object) -> str | None:
    """A key that stands twice in the record or an object of it, arrays apart."""
    keys = [key for key, _ in value]
    if len(keys) != len(set(keys)):
        return next(key for key in keys if keys.count(key) > 1)
    for _, inner in value:
        if isinstance(inner, _Object) and (found := _double_key(inner)) is not None:
            return found
    return None


def _unholdable(value: object) -> str | None:
    """A NUL or half a surrogate pair, which an escape can write and no text column can hold."""
    for text in _texts(value):
        if "\0" in text:
            return "NUL character (\\u0000) in a text"
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return "half of a surrogate pair in a text"
    return None


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, _Object):
        for key, inner in value:
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
