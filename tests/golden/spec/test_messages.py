"""Every message a broken pipeline file can bring, word for word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.errors import SpecError
from penstock.spec.resolve import load_pipeline

HERE = Path(__file__).parent
BROKEN = sorted((HERE / "broken").glob("*.yaml"))
MESSAGES = HERE / "messages.txt"


def message_of(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_pipeline(path, environ={})
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_each_broken_file_says_exactly_what_is_wrong_with_it() -> None:
    said = "".join(f"===== {path.name}\n{message_of(path)}\n\n" for path in BROKEN)
    if os.environ.get("PENSTOCK_WRITE_GOLDEN"):
        MESSAGES.write_text(said, "utf-8")
    assert said == MESSAGES.read_text("utf-8")


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_never_brings_a_python_error(path: Path) -> None:
    assert "Traceback" not in message_of(path)


def test_each_problem_of_a_yaml_file_names_its_line() -> None:
    for path in BROKEN:
        with pytest.raises(SpecError) as caught:
            load_pipeline(path, environ={})
        whole_file = path.stem in ("blank", "comment_only", "utf16")
        for problem in caught.value.problems:
            assert whole_file or problem.where.startswith(f"{path.name}:"), problem
