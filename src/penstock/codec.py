"""JSON on the wire: frozen dataclasses to canonical JSON and back, by their type hints.

Canonical: sorted keys, no spaces, ASCII only (SQS takes XML characters only). An unknown key is
ignored, a missing one takes its default, so that a newer writer and an older reader get along.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from penstock.errors import Rejected
from penstock.model import ChunkExtracted, ChunkId, Message, SlicePlanned, TargetDirty

T = TypeVar("T")

WIRE_VERSION = 1
_MESSAGES: Mapping[str, type] = {
    "slice_planned": SlicePlanned,
    "chunk_extracted": ChunkExtracted,
    "target_dirty": TargetDirty,
}


def to_json(value: object) -> str:
    """The value as canonical JSON text."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def from_json(kind: type[T], text: str | bytes) -> T:
    """A `kind` read from JSON text.

    Raises: Rejected if the text is not JSON or does not fit.
    """
    try:
        value: T = read(kind, json.loads(text))
        return value
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Rejected(f"not a {kind.__name__}: {error}", where=str(text[:200])) from error


def pack(message: Message) -> str:
    """A message with its name and the wire's version."""
    name = next(name for name, kind in _MESSAGES.items() if kind is type(message))
    return to_json({"v": WIRE_VERSION, "type": name, "body": plain(message)})


def unpack(text: str) -> Message:
    """The message that `pack` wrote.

    Raises: Rejected for another version, an unknown type, or a body that does not fit.
    """
    try:
        envelope = json.loads(text)
        version, name, body = envelope["v"], envelope["type"], envelope["body"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Rejected(f"not a message: {error}", where=text[:200]) from error
    if version != WIRE_VERSION or str(name) not in _MESSAGES:
        raise Rejected(f"message {name!r} of version {version!r} is not known here")
    message: Message = from_json(_MESSAGES[name], json.dumps(body))
    return message


def plain(value: object) -> Any:
    """The value in JSON's own types."""
    if isinstance(value, ChunkId):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def read(kind: Any, data: Any) -> Any:
    """The value of type `kind` that `plain` made `data` from."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if origin is Literal:
        return _fitting(data in arguments, data, kind)
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        return read(next(a for a in arguments if a is not type(None)), data)
    if origin is tuple:
        _fitting(isinstance(data, list), data, kind)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(read(arguments[0], item) for item in data)
        return tuple(read(a, item) for a, item in zip(arguments, data, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {key: read(arguments[1], item) for key, item in data.items()}
    if kind is ChunkId:
        return ChunkId.parse(data)
    if kind is datetime:
        at = datetime.fromisoformat(data)
        return _fitting(at.tzinfo is not None, at, kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_dataclass(kind, data)
    wanted = (int, float) if kind is float else (kind,)
    return _fitting(type(data) in wanted, data, kind)


def _fitting(fits: bool, value: Any, kind: Any) -> Any:
    if not fits:
        raise TypeError(f"{value!r:.60} is not {getattr(kind, '__name__', kind)}")
    return value


@cache
def _shape(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (f.name, hints[f.name], f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
    )


def _read_dataclass(kind: type, data: Mapping[str, Any]) -> Any:
    given = {}
    for name, hint, required in _shape(kind):
        if name in data:
            given[name] = read(hint, data[name])
        elif required:
            raise KeyError(f"{kind.__name__} lacks {name!r}")
    return kind(**given)
