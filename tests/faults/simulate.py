"""Many schedules: python -m tests.faults.simulate --mode append --seeds 0:2000"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

import duckdb
from tests.faults.lockstep import Crew
from tests.faults.settings import Violation
from tests.faults.simulation import Simulation
from tests.faults.source import Mode


def violations(mode: Mode, seeds: Iterable[int]) -> Iterator[tuple[int, Simulation]]:
    """Every schedule that breaks a promise; its last line says which."""
    crew = Crew()
    try:
        with duckdb.connect(config={"threads": 1}) as connection:
            for seed in seeds:
                simulation = Simulation(seed, mode, connection, crew)
                try:
                    simulation.run()
                except Violation as violation:
                    simulation.say("VIOLATION", violation)
                    yield seed, simulation
    finally:
        crew.close()


def told(simulation: Simulation) -> str:
    """The trace, as a person reads it."""
    lines = [f"{simulation.settings}"]
    lines += [" ".join(str(word) for word in words if word != "") for words in simulation.trace]
    text = "\n".join(line for line in lines if line).replace("p/dev/w/s", "s")
    runs = dict.fromkeys(re.findall(r"\d{8}T\d{6}-[0-9a-f]{8}", text))
    for number, run in enumerate(runs, 1):
        text = text.replace(run, f"run{number}")
    text = re.sub(r"staging/p/s/ingest_date=[0-9-]+/source=src/", "staging/", text)
    return re.sub(r"'reason': .*?, 'digest'", "'digest'", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=[*get_args(Mode), "all"], default="all")
    parser.add_argument("--seeds", default="0:200")
    parser.add_argument(
        "--keep-on", action="store_true", help="count violations, show the shortest"
    )
    options = parser.parse_args()
    start, _, stop = options.seeds.partition(":")
    seeds = range(int(start), int(stop)) if stop else range(int(start), int(start) + 1)
    modes: list[Mode] = list(get_args(Mode)) if options.mode == "all" else [options.mode]
    worst: tuple[int, Simulation] | None = None
    for mode in modes:
        kinds: Counter[str] = Counter()
        began = time.monotonic()
        for seed, broken in violations(mode, seeds):
            kinds[str(broken.trace[-1][1])[:70]] += 1
            print(f"{mode} seed {seed}: {broken.trace[-1][1]}", file=sys.stderr)
            if worst is None or len(broken.trace) < len(worst[1].trace):
                worst = (seed, broken)
            if not options.keep_on:
                break
        took_s = time.monotonic() - began
        print(f"{mode}: {len(seeds)} schedules in {took_s:.1f} s, violations: {dict(kinds)}")
    if worst is not None:
        print(f"seed {worst[0]}")
        print(told(worst[1]))
    return 1 if worst is not None else 0


if __name__ == "__main__":
    sys.exit(main())
