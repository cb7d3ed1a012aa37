"""Each rule of the protocol, broken by a small edit, and the harness that must notice.

    python -m tests.faults.mutants                 every mutant
    python -m tests.faults.mutants open-run last   those

An edit replaces text that stands exactly once in a file; a mutant that no longer applies fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.rules import MUTANTS, Mutant

import penstock

PACKAGE = Path(penstock.__file__).parent
TESTS = Path(__file__).parent
SEEDS = 600


def apply(mutant: Mutant, folder: Path) -> None:
    """`folder` holds the package and the harness, with the rule broken."""
    nothing_made = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "penstock", ignore=nothing_made)
    shutil.copytree(TESTS, folder / "tests" / "faults", ignore=nothing_made)
    for edit in mutant.edits:
        path = folder / edit.file
        text = path.read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, f"{mutant.name}: {edit.file} has not once: {edit.old}"
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def noticed(mutant: Mutant, seeds: int = SEEDS) -> str:
    """What the simulation said of the mutant; empty if it survived."""
    with tempfile.TemporaryDirectory(prefix=f"mutant-{mutant.name}-") as name:
        apply(mutant, Path(name))
        for mode in mutant.modes:
            told = _simulated(Path(name), mode, seeds)
            if told:
                return told
    return ""


def _simulated(folder: Path, mode: str, seeds: int) -> str:
    command = ["-m", "tests.faults.simulate", "--mode", mode, "--seeds", f"0:{seeds}"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if line.startswith(f"{mode} seed")]
    assert done.returncode == (1 if told else 0), done.stderr
    return told[0] if told else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    survivors = []
    for mutant in MUTANTS:
        if options.names and mutant.name not in options.names:
            continue
        began = time.monotonic()
        told = noticed(mutant, options.seeds)
        if not told:
            survivors.append(mutant.name)
        print(
            f"{mutant.name} (rule {mutant.rule}): {told or 'SURVIVES'} "
            f"({time.monotonic() - began:.0f} s)",
            flush=True,
        )
    if survivors:
        print(f"survivors: {', '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
