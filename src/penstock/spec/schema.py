"""The JSON schema of the pipeline file, for editors (`check --json-schema`)."""

from __future__ import annotations

from typing import Any

from penstock.spec.models import FileModel


def json_schema() -> dict[str, Any]:
    """The schema by which an editor completes and checks keys (draft 2020-12)."""
    schema = FileModel.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Penstock pipeline file, version 1"
    schema["patternProperties"] = {"^x-": {}}
    # null removes what a layer below says, so every key may be null; optional keys say so already.
    schema["required"] = ["version", "pipeline", "sources", "streams"]
    plain: dict[str, Any] = _without_titles(schema)
    return plain


def _without_titles(value: Any, inside_properties: bool = False) -> Any:
    """Titles that repeat the key are noise in an editor's hover."""
    if isinstance(value, dict):
        return {
            key: _without_titles(item, key in ("properties", "$defs"))
            for key, item in value.items()
            if inside_properties or key != "title" or "$schema" in value
        }
    if isinstance(value, list):
        return [_without_titles(item) for item in value]
    return value
