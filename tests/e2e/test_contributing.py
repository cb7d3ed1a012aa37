"""CONTRIBUTING's three steps, performed as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _block(text: str, kind: str, after: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", text[text.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


def test_a_source_is_added_in_three_steps(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (tmp_path / "numbers_source.py").write_text(_block(text, "python", "**1."))
    package = tmp_path / "numbers-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: numbers\nVersion: 1.0\n")
    entry = _block(text, "toml", "**2.").replace('[project.entry-points."', "[", 1)
    entry = entry.replace('"]', "]").replace(
        '"numbers_source:NumbersSource"', "numbers_source:NumbersSource"
    )
    (package / "entry_points.txt").write_text(entry)
    (tmp_path / "test_numbers.py").write_text(_block(text, "python", "**3."))
    (tmp_path / "pipeline.yaml").write_text(_block(text, "yaml", "Then it works"))

    suite = _run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_numbers.py")
    assert suite.returncode == 0, suite.stdout + suite.stderr
    assert "7 passed" in suite.stdout

    ran = _run(tmp_path, "-c", "from penstock.cli import main; raise SystemExit(main())", "run")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    question = "select count(*) as n, sum(square)::bigint as squares from maths.numbers"
    asked = _run(
        tmp_path,
        "-c",
        "from penstock.cli import main; raise SystemExit(main())",
        "query",
        "--json",
        question,
    )
    assert json.loads(asked.stdout)["rows"] == [
        {"n": 2500, "squares": sum(i * i for i in range(2501))}
    ]


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = [str(folder), str(ROOT / "src")]
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
