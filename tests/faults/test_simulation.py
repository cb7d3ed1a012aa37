"""A few schedules of each write mode, and a few broken rules; `make faults` runs them all."""

from __future__ import annotations

import os
from typing import get_args

import pytest

from tests.faults.mutants import MUTANTS, Mutant
from tests.faults.simulate import told, violations
from tests.faults.source import Mode

SEEDS = int(os.environ.get("PENSTOCK_SEEDS", "8"))
QUICK = {"cursor-moves-early", "chunk-after-the-last", "generation-ignored-by-load"}
CHOSEN = [m for m in MUTANTS if "PENSTOCK_SEEDS" in os.environ or m.name in QUICK]


@pytest.mark.parametrize("mode", get_args(Mode))
def test_no_schedule_loses_or_doubles_a_row(mode: Mode) -> None:
    broken = [f"seed {seed}\n{told(made)}" for seed, made in violations(mode, range(SEEDS))]
    assert not broken, broken[0]


@pytest.mark.parametrize("mutant", CHOSEN, ids=lambda mutant: mutant.name)
def test_a_broken_rule_is_noticed(mutant: Mutant) -> None:
    assert mutant.noticed()
