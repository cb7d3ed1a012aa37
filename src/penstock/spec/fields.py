"""Field types of the pipeline file: what each accepts, and how an editor should see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from penstock.spec import notation

REFERENCE = "${"


class Model(BaseModel):
    """A mapping of the file: its keys are the fields, and no others."""

    model_config = ConfigDict(extra="forbid", validate_by_name=False, hide_input_in_errors=True)


def problem(what: str, fix: str = "") -> PydanticCustomError:
    """What a validator raises; `what` and `fix` are shown as they are."""
    return PydanticCustomError("notation", "{what}", {"what": what, "fix": fix})


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(getattr(value, "text", value))
    return value


def _in_notation(check: Callable[[str], object]) -> Callable[[str], str]:
    def checked(value: str) -> str:
        try:
            check(value)
        except notation.NotationError as error:
            raise problem(str(error), error.fix) from error
        return value

    return checked


def _lookback(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str):
        return _in_notation(notation.duration_s)(value)
    raise problem("lookback is a duration, or a number for a numeric cursor", "lookback: 5m")


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise problem("this must be a number")
    return value


def _port(value: Any) -> Any:
    if isinstance(value, str) and REFERENCE in value:
        return value
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if isinstance(value, (bool, float)) or not 1 <= number <= 65535:
        raise problem("a port is a number from 1 to 65535", "port: 5432")
    return number


def _names(value: Any) -> Any:
    if value == "*":
        return ["*"]
    if not isinstance(value, list):
        raise problem('this takes a list of columns, or "*" for all', '["*"] or [a, b]')
    return value


def _column_type(value: str) -> str:
    try:
        return notation.column_type(value)
    except notation.NotationError as error:
        raise problem(str(error), error.fix) from error


def _scalar(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        raise problem("this must be one value")
    return value


def _secret(value: str) -> str:
    if REFERENCE in value:
        raise problem("`secret` is the name of a secret, not a reference", "secret: shop/db")
    return value


Text = Annotated[str, BeforeValidator(_as_text)]
AnyText = Annotated[
    str,
    BeforeValidator(_as_text),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
Scalar = Annotated[
    Any,
    BeforeValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]
Name = Annotated[Text, AfterValidator(_in_notation(notation.name))]
Flag = StrictBool
Count = Annotated[int, BeforeValidator(_number), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_number), Field(ge=1)]
Texts = list[Text]
Names = Annotated[
    list[Text],
    BeforeValidator(_names),
    WithJsonSchema({"anyOf": [{"const": "*"}, {"type": "array", "items": {"type": "string"}}]}),
]
Duration = Annotated[
    Text,
    AfterValidator(_in_notation(notation.duration_s)),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(s|m|h|d)$"}),
]
Lookback = Annotated[
    str | float,
    BeforeValidator(_lookback),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}]}),
]
Ratio = Annotated[
    Text,
    AfterValidator(_in_notation(notation.ratio)),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s?%$"}),
]
ColumnType = Annotated[Text, AfterValidator(_column_type)]
SecretName = Annotated[Text, AfterValidator(_secret)]
Port = Annotated[int | str, BeforeValidator(_port), WithJsonSchema({"type": ["integer", "string"]})]
