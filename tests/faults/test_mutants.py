"""A broken rule is noticed: every one by `make faults`, those that show at once in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.faults.mutants import SEEDS, apply, noticed
from tests.faults.rules import MUTANTS, Mutant

EVERY = int(os.environ.get("PENSTOCK_KILLS", "0")) >= 200
AT_ONCE = (
    "refresh-waits",
    "waiting-not-durable",
    "cursor-moves-early",
    "link-overwritten",
    "no-superseding",
    "ack-before-send",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_still_applies(mutant: Mutant, tmp_path: Path) -> None:
    apply(mutant, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if EVERY or mutant.name in AT_ONCE],
    ids=lambda mutant: mutant.name,
)
def test_a_broken_rule_is_noticed(mutant: Mutant) -> None:
    assert noticed(mutant, SEEDS if EVERY else 60)
