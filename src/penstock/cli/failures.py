"""How the command line says that something went wrong."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from penstock.errors import Broken, PenstockError, Problem, SpecError

_USER_IN_URL = re.compile(r"(://)[^/@\s'\"]+@")
_PASSWORD = re.compile(r"(?i)(password|passwd|pwd|secret|token|api_key)(=)[^\s&'\"]+")


def redacted(text: str) -> str:
    """The text without the users and passwords that URLs and connection strings carry."""
    return _PASSWORD.sub(r"\1\2***", _USER_IN_URL.sub(r"\1***@", text))


def installing(text: str, prefix: Path | None = None) -> str:
    """The text with `pip install` as it is done in the environment that this process runs in."""
    prefix = Path(sys.prefix) if prefix is None else prefix
    settings = prefix / "pyvenv.cfg"
    line = f"{sys.executable} -m pip install "
    if "pipx" in prefix.parts:
        line = "pipx install --force "
    elif ("uv", "tools") in zip(prefix.parts, prefix.parts[1:], strict=False):
        line = "uv tool install "
    elif settings.is_file() and re.search(r"(?m)^uv\s*=", settings.read_text("utf-8")):
        line = f"uv pip install --python {sys.executable} "
    return text.replace("pip install ", line)


def explain(error: PenstockError, words: Sequence[str]) -> int:
    """The error stands on stderr, and with --json as the one document on stdout."""
    print(installing(redacted(str(error))), file=sys.stderr)
    if "--debug" in words:
        print(redacted("".join(traceback.format_exception(error))), file=sys.stderr)
    if "--json" in words:
        print(json.dumps({"error": _as_json(error)}, indent=2))
    return error.exit_code


def _as_json(error: PenstockError) -> dict[str, object]:
    problems = (
        error.problems
        if isinstance(error, SpecError)
        else (Problem(error.what, error.where, error.why, error.fix),)
    )
    kinds = {SpecError: "wrong", Broken: "broken"}
    kind = next((name for cls, name in kinds.items() if isinstance(error, cls)), "failed")
    return {
        "kind": kind,
        "problems": [
            {
                name: installing(redacted(getattr(problem, name)))
                for name in ("what", "where", "why", "fix")
                if getattr(problem, name)
            }
            for problem in problems
        ],
    }


def stopped() -> int:
    """Ctrl-C has ended the verb."""
    print("\nstopped; nothing is lost: penstock run goes on from here", file=sys.stderr)
    return 130


def unexpected(error: Exception, words: Sequence[str]) -> int:
    """A defect of Penstock itself is told in one line; its traceback is in a file."""
    text = redacted("".join(traceback.format_exception(error)))
    handle, name = tempfile.mkstemp(prefix="penstock-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as log:
        log.write(text)
    said = redacted(str(error).partition("\n")[0])[:300]
    print(f"a defect in Penstock: {type(error).__name__}: {said}", file=sys.stderr)
    if "--debug" in words:
        print(text, file=sys.stderr)
    else:
        print(f"  where: {Path(name)} has the traceback (--debug shows it)", file=sys.stderr)
    if "--json" in words:
        problem = {"what": f"{type(error).__name__}: {said}", "where": name}
        print(json.dumps({"error": {"kind": "defect", "problems": [problem]}}, indent=2))
    return 1
