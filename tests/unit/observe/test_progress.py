"""Events added up as they are heard."""

from __future__ import annotations

from penstock.observe.progress import MOST_POINTS, Progress


class Seconds:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_events_add_up_by_stream_and_stage() -> None:
    clock = Seconds()
    progress = Progress(clock)
    clock.now = 101.0
    progress.hear("run_planned", {"stream": "a"})
    clock.now = 102.0
    progress.hear("chunk_extracted", {"stream": "a", "rows": 10})
    progress.hear(
        "chunk_transformed",
        {"stream": "a", "rows_read": 10, "rows_good": 9, "rows_quarantined": 1},
    )
    clock.now = 104.0
    progress.hear("chunks_loaded", {"stream": "a", "rows_loaded": 9, "inserted": 7, "updated": 2})
    progress.hear("message_retried", {"stream": "a", "reason": "busy"})
    progress.hear("run_ended", {"stream": "a", "status": "done"})
    tally = progress.tally("a")
    assert tally.rows == {"extract": 10, "transform": 10, "load": 9}
    assert (tally.good, tally.quarantined, tally.inserted, tally.updated) == (9, 1, 7, 2)
    assert (tally.planned_at, tally.first_at["extract"], tally.last_at["load"]) == (1.0, 2.0, 4.0)
    assert (tally.retried, tally.last_reason, tally.over) == (1, "busy", "done")
    assert progress.curve("load") == ((4.0, 9),)


def test_what_concerns_no_stream_is_passed_by() -> None:
    progress = Progress(Seconds())
    progress.hear("chunk_extracted", {"rows": 5})
    progress.hear("something_new", {"stream": "a"})
    assert progress.tally("a").rows["extract"] == 0
    assert progress.tally("never heard of").good == 0


def test_a_curve_stays_small_and_keeps_its_end() -> None:
    clock = Seconds()
    progress = Progress(clock)
    for second in range(5 * MOST_POINTS):
        clock.now = 100.0 + second
        progress.hear("chunk_extracted", {"stream": "a", "rows": 1})
    points = progress.curve("extract")
    assert len(points) <= MOST_POINTS + 1
    assert points[-1] == (5 * MOST_POINTS - 1.0, 5 * MOST_POINTS)
    assert list(points) == sorted(points)
