"""Penstock and its peers on the same work, in the same run: a table, and JSON beside it.

bench/run.py [--rows N] [--repeat N] [--only NAME]... [--work orders|flights] [--large]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from contestants import Contestant, Work, contestants
from data import SETTINGS, Truth, flights, orders
from measure import Failed, measure
from penstock.testing.postgres import EmbeddedPostgres

HERE = Path(__file__).parent
LARGE_ROWS = 30_000_000
LARGE_DISK_BYTES = 25 * 2**30
RSS_LIMIT_MB = 512


@dataclass(frozen=True, slots=True)
class Line:
    """One contestant on one piece of work; numbers are the medians of its repeats."""

    work: str
    contestant: str
    rows: int
    seconds: float = 0
    cpu_seconds: float = 0
    peak_rss_mb: float = 0
    rows_per_s: float = 0
    exact: bool = False
    total: str = ""
    type: str = ""
    error: str = ""
    goal: float | None = None
    least: float | None = None
    all_seconds: tuple[float, ...] = ()


def compete(contestant: Contestant, work: Work, truth: Truth, repeat: int) -> Line:
    """The contestant has run `repeat` times, each in an empty folder."""
    costs = []
    folder = HERE / "work" / "contestant"
    try:
        for _ in range(repeat):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            command = contestant.command(work, folder)
            costs.append(measure(command, folder, contestant.environ))
            result = contestant.look(work, folder)
    except (Failed, OSError, AssertionError) as error:
        return Line(work.name, contestant.name, truth.rows, error=str(error))
    seconds = statistics.median(cost.seconds for cost in costs)
    return Line(
        work.name,
        contestant.name,
        truth.rows,
        seconds,
        statistics.median(cost.cpu_seconds for cost in costs),
        max(cost.peak_rss_mb for cost in costs),
        truth.rows / seconds,
        (result.rows, result.total) == (truth.rows, truth.total),
        result.total,
        result.type,
        goal=contestant.goal,
        least=contestant.least,
        all_seconds=tuple(round(cost.seconds, 2) for cost in costs),
    )


def ratio(line: Line, lines: list[Line]) -> float | None:
    """How many times longer than Penstock on the same work; None without both."""
    ours = next((o for o in lines if o.work == line.work and o.contestant == "penstock"), None)
    if ours is None or not ours.seconds or not line.seconds:
        return None
    return line.seconds / ours.seconds


def table_of(lines: list[Line]) -> Table:
    table = Table("work", "contestant")
    for name in ("seconds", "rows/s", "CPU s", "peak MB", "x penstock", "goal (least)"):
        table.add_column(name, justify="right")
    table.add_column("rows and sum")
    for line in lines:
        if line.error:
            table.add_row(line.work, line.contestant, *[""] * 6, "failed, see above")
            continue
        times = ratio(line, lines)
        table.add_row(
            line.work,
            line.contestant,
            f"{line.seconds:.1f}",
            f"{line.rows_per_s:,.0f}",
            f"{line.cpu_seconds:.1f}",
            f"{line.peak_rss_mb:.0f}",
            f"{times:.1f}" if times else "",
            f"{line.goal:g} ({line.least:g})" if line.goal and line.least else "",
            ("exact, " if line.exact else f"NOT exact: {line.total}, ") + line.type,
        )
    return table


def works(options: argparse.Namespace, server: EmbeddedPostgres) -> Iterator[tuple[Work, Truth]]:
    wanted = options.work or ["orders", "flights"]
    if options.large:
        if shutil.disk_usage(HERE).free < LARGE_DISK_BYTES:
            sys.exit(f"the large table needs {LARGE_DISK_BYTES >> 30} GB of free disk")
        table, truth = orders(server, LARGE_ROWS)
        yield Work("large", server, table, "amount"), truth
        return
    if "orders" in wanted:
        table, truth = orders(server, options.rows)
        yield Work("orders", server, table, "amount"), truth
    if "flights" in wanted:
        folder = HERE / "work" / "flights"
        folder.mkdir(parents=True, exist_ok=True)
        truth = flights(folder)
        yield Work("flights", server, "flights", "distance", folder), truth


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="rows of the Postgres table")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the median counts")
    parser.add_argument("--only", action="append", help="a contestant's name; may be repeated")
    parser.add_argument("--work", action="append", choices=["orders", "flights"])
    parser.add_argument("--large", action="store_true", help="30 M rows instead, for memory")
    parser.add_argument(
        "--peers", type=Path, default=HERE / ".venv/bin/python", help="their python"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Every contestant has run; 1 if one failed, or Penstock was not exact."""
    options = parse(arguments)
    console = Console(width=max(120, Console().width))
    work_folder = HERE / "work"
    work_folder.mkdir(exist_ok=True)
    server = EmbeddedPostgres(work_folder / "postgres")
    lines: list[Line] = []
    server.start(SETTINGS)
    try:
        for work, truth in works(options, server):
            for contestant in contestants(options.peers.absolute(), work):
                if not options.only or contestant.name in options.only:
                    console.print(f"{work.name}: {contestant.name} …")
                    lines.append(compete(contestant, work, truth, options.repeat))
    finally:
        server.stop()
    for line in lines:
        if line.error:
            console.print(
                f"{line.work}: {line.contestant} failed", line.error, sep="\n", markup=False
            )
    console.print(table_of(lines))
    write(lines)
    ours = [line for line in lines if line.contestant == "penstock"]
    for line in ours:
        if line.peak_rss_mb > RSS_LIMIT_MB:
            console.print(f"{line.work}: penstock took {line.peak_rss_mb:.0f} MB, the limit is 512")
    return int(any(line.error for line in lines) or not all(line.exact for line in ours))


def write(lines: list[Line]) -> None:
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": sys.version}
    body = {
        "at": datetime.now(UTC).isoformat(),
        "machine": machine,
        "lines": [asdict(line) | {"ratio": ratio(line, lines)} for line in lines],
    }
    (folder / "latest.json").write_text(json.dumps(body, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
