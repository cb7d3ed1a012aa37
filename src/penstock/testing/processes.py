"""Real processes that race, and real processes that are killed."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

_PATIENCE_S = 120


def together(count: int, work: Callable[..., Any], *arguments: object) -> list[Any]:
    """What `work(number, barrier, *arguments)` gave in `count` processes that ran at once.

    Shape: `work` and its arguments are picklable; `barrier.wait()` lets all go on together.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    started = []
    for number in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_run, args=(theirs, work, number, barrier, *arguments))
        process.start()
        theirs.close()
        started.append((process, ours))
    answers = [_answer(ours) for _, ours in started]
    for process, ours in started:
        process.join()
        process.close()
        ours.close()
    return answers


def killed(work: Callable[..., Any], *arguments: object) -> Any:
    """What `work(tell, *arguments)` told before its process was killed with SIGKILL.

    `work` calls `tell(value)` once, and does not come back from it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_until_killed, args=(theirs, work, *arguments))
    process.start()
    theirs.close()
    told = _answer(ours)
    process.kill()
    process.join()
    process.close()
    ours.close()
    return told


def _answer(pipe: Connection) -> Any:
    assert pipe.poll(_PATIENCE_S), "the other process does not answer"
    fine, value = pipe.recv()
    assert fine, value
    return value


def _run(
    pipe: Connection, work: Callable[..., Any], number: int, barrier: Barrier, *arguments: object
) -> None:
    finished = False
    try:
        pipe.send((True, work(number, barrier, *arguments)))
        finished = True
    finally:
        if not finished:
            barrier.abort()
            pipe.send((False, traceback.format_exc()))


def _run_until_killed(pipe: Connection, work: Callable[..., Any], *arguments: object) -> None:
    def tell(value: object) -> None:
        pipe.send((True, value))
        pipe.recv()  # nothing ever comes

    try:
        work(tell, *arguments)
    finally:
        pipe.send((False, traceback.format_exc()))
