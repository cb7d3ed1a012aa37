"""The one notation of each kind of value: durations, ratios, column types, names."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s?%")
_TYPE = re.compile(r"([a-z]+)(?:\((\d+)(?:,(\d+))?\))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

TYPES = (
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "decimal",
    "real",
    "double",
    "varchar",
    "json",
    "binary",
    "date",
    "time",
    "timestamp",
    "timestamptz",
)
OTHER_NAMES = {
    "bool": "boolean",
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "long": "bigint",
    "numeric": "decimal",
    "number": "decimal",
    "float": "double",
    "float4": "real",
    "float8": "double",
    "text": "varchar",
    "string": "varchar",
    "char": "varchar",
    "uuid": "varchar",
    "jsonb": "json",
    "bytea": "binary",
    "blob": "binary",
    "datetime": "timestamp",
}


class NotationError(ValueError):
    """Text that is not in its one notation; `fix` says how it is written."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def duration_s(text: str) -> float:
    """The seconds of `90s`, `5m`, `1h`, `30d`.

    Raises: NotationError for anything else.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise NotationError(f'"{text}" is no duration', "write a number and s, m, h or d: 5m")
    return float(match[1]) * _UNITS[match[2]]


def ratio(text: str) -> float:
    """The share that `1%` stands for.

    Raises: NotationError for anything else.
    """
    match = _RATIO.fullmatch(text)
    if match is None or float(match[1]) > 100:
        raise NotationError(f'"{text}" is no share', "write percent, 0% to 100%: 1%")
    return float(match[1]) / 100


def column_type(text: str) -> str:
    """The logical type, in its one spelling.

    Raises: NotationError for an unknown type, or parameters that do not fit.
    """
    squeezed = re.sub(r"\s+", "", text.lower())
    match = _TYPE.fullmatch(squeezed)
    name = match[1] if match is not None else squeezed.partition("(")[0]
    if name in OTHER_NAMES:
        raise NotationError(f'the type "{text}" is not known', f'write "{OTHER_NAMES[name]}"')
    if match is None or name not in TYPES:
        raise NotationError(f'the type "{text}" is not known', "known: " + ", ".join(TYPES))
    first, second = match[2], match[3]
    if name == "decimal":
        if first is None or not 1 <= int(first) <= 38 or int(second or 0) > int(first):
            raise NotationError(
                f'"{text}" lacks digits', 'write "decimal(12,2)", at most 38 digits'
            )
        return f"decimal({int(first)},{int(second or 0)})"
    if name == "varchar" and first is not None and second is None and int(first) > 0:
        return f"varchar({int(first)})"
    if first is not None:
        raise NotationError(f'"{text}": this type takes no such length', f'write "{name}"')
    return name


def name(text: str) -> str:
    """A name of a pipeline, stream, source or environment.

    Raises: NotationError unless it is letters, digits, _ and -, starting with a letter.
    """
    if _NAME.fullmatch(text) is None:
        fix = re.sub(r"[^A-Za-z0-9_-]+", "_", text).lstrip("0123456789-") or "a_name"
        raise NotationError(f'"{text}" is no name', f"letters, digits, _ and -: {fix}")
    return text
