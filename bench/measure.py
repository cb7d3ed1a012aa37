"""What one command costs: seconds, CPU seconds, and the peak memory of it and its children.

The Postgres server is nobody's child here, so that its share is not counted.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    output: str


class Failed(Exception):
    """The command ended with an error; its last lines are the message."""


def tree_rss_bytes(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; pages they share count for each."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def measure(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Cost:
    """The command has run in `folder`, whose `output.log` holds what it printed.

    Raises: Failed if it ended with another code than 0.
    """
    log = folder / "output.log"
    peak = 0
    done = threading.Event()
    with log.open("wb") as output:
        begun = time.perf_counter()
        child = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environ}, stdout=output, stderr=output
        )

        def watch() -> None:
            nonlocal peak
            process = psutil.Process(child.pid)
            while not done.wait(SAMPLE_S):
                peak = max(peak, tree_rss_bytes(process))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        done.set()
        watcher.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    if child.returncode != 0:
        raise Failed(f"exit code {child.returncode}\n" + "\n".join(text.splitlines()[-15:]))
    # ru_maxrss is the largest single process, seen by the kernel between our samples too.
    peak_mb = max(peak / 2**20, usage.ru_maxrss / 1024)
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak_mb, text)
