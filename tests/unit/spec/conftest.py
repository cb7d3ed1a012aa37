"""A pipeline file made for one test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import SpecError
from penstock.pipeline import Pipeline
from penstock.spec.resolve import load_pipeline

HEAD = """version: 1
pipeline: shop
sources:
  db: {type: postgres, host: localhost, database: shop}
  up: {type: files, url: ./uploads}
"""
Load = Callable[..., Pipeline]
Refuse = Callable[..., str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads HEAD + body; `files` are written beside it first."""

    def load_text(
        body: str,
        environment: str | None = None,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        head: str = HEAD,
    ) -> Pipeline:
        for name, text in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        path = tmp_path / "pipeline.yaml"
        path.write_text(head + body, "utf-8")
        return load_pipeline(path, environment, flags, environ or {})

    return load_text


@pytest.fixture
def refuse(load: Load) -> Refuse:
    """The message with which HEAD + body is refused."""

    def message(body: str, **options: Any) -> str:
        with pytest.raises(SpecError) as caught:
            load(body, **options)
        return str(caught.value)

    return message
