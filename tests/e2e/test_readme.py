"""The README's five minutes, command by command, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "penstock"
    program.write_text(
        f"#!{sys.executable}\nfrom penstock.cli import main\nraise SystemExit(main())\n"
    )
    program.chmod(0o755)
    said = []
    for kind, body in re.findall(r"```(console|yaml)\n(.*?)```", text, re.DOTALL):
        if kind == "yaml":
            (tmp_path / "shop" / "pipeline.yaml").write_text(body)
            continue
        for command in re.findall(r"^\$ (.+)$", body, re.MULTILINE):
            folder = tmp_path / "shop" if (tmp_path / "shop").exists() else tmp_path
            done = subprocess.run(
                ["bash", "-ec", command],
                cwd=folder,
                env={
                    **os.environ,
                    "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
                    "PYTHONPATH": str(ROOT / "src"),
                },
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            said.append(done.stdout)
    everything = "\n".join(said)
    assert '1 bad row: orders.amount: not decimal(12,2), e.g. "12,5O"' in everything
    assert "nothing new" in everything
    assert re.search(r"^\s*3\s+19\.00\s*$", everything, re.MULTILINE)
    assert "every sum holds" in everything
