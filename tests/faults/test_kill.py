"""Killed at any moment, and started three times at once: nothing is lost, nothing doubled.

PENSTOCK_KILLS says how many processes are killed; `make faults` kills 200.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from tests.faults.kill import Campaign, run_campaign

from penstock.testing.postgres import EmbeddedPostgres

KILLS = int(os.environ.get("PENSTOCK_KILLS", "6"))
PER_CAMPAIGN = 20


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(-(-KILLS // PER_CAMPAIGN)))
def test_a_run_killed_at_any_moment_is_as_if_it_had_not_been(
    seed: int, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    campaign = run_campaign(tmp_path, postgres_server, seed, min(KILLS, PER_CAMPAIGN))
    assert campaign.ended["killed"] >= min(KILLS, PER_CAMPAIGN)


@pytest.mark.faults
def test_three_runs_at_once_double_and_lose_nothing(database: Any, tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, database.server, database.name, random.Random(3))
    with campaign.changes.going_on():
        processes = [campaign.start("run") for _ in range(3)]
        for process in processes:
            campaign.finish(process)
    campaign.check()
