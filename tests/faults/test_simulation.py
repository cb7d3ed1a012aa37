"""A few schedules of each write mode; `make faults` runs 2,000 of each."""

from __future__ import annotations

import os
from typing import get_args

import pytest
from tests.faults.simulate import told, violations
from tests.faults.source import Mode

SEEDS = int(os.environ.get("PENSTOCK_SEEDS", "8"))


@pytest.mark.parametrize("mode", get_args(Mode))
def test_no_schedule_loses_or_doubles_a_row(mode: Mode) -> None:
    broken = [f"seed {seed}\n{told(made)}" for seed, made in violations(mode, range(SEEDS))]
    assert not broken, broken[0]
