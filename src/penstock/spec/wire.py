"""A pipeline as canonical JSON, and the digest that plans and messages carry."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from penstock import codec
from penstock.pipeline import Pipeline


def to_json(pipeline: Pipeline) -> str:
    """The pipeline as canonical JSON, without the folder it was read from."""
    body = codec.plain(pipeline)
    del body["directory"]
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def from_json(text: str | bytes, directory: str = ".") -> Pipeline:
    """The pipeline that `to_json` wrote, with relative paths starting at `directory`.

    Raises: Rejected if the text is no pipeline.
    """
    return replace(codec.from_json(Pipeline, text), directory=directory)


def digest(pipeline: Pipeline) -> str:
    """The sha256 of the canonical JSON, in hex."""
    return hashlib.sha256(to_json(pipeline).encode("ascii")).hexdigest()
