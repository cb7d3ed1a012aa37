"""What every warehouse does whatever comes first, fails, or runs beside it.

Subclass `WarehouseFaultContract` beside `WarehouseContract`, whose fixtures it takes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

import pytest

from penstock.errors import Transient
from penstock.model import LoadRequest, Receipt, Target
from penstock.ports import Warehouse
from penstock.testing.staged import COLUMNS, StagedFolder, plan, request, target
from penstock.testing.warehouses import MERGED, naive, table

Seen = Callable[[int, bool], None]
Watch = Callable[[Warehouse, Seen], AbstractContextManager[None]]
History = tuple[Target, Sequence[LoadRequest], list[tuple[Any, ...]]]
"""A target, the requests that reach it, and the rows it has in the end, whatever their order."""


class WarehouseFaultContract:
    """The tests of a warehouse in a world that repeats, reorders and fails.

    Shape: `watch` is a fixture: in `with watch(warehouse, seen)` every statement of a load that
    reaches the driver, COMMIT included, calls `seen(number, done)` before it (done: False) and
    after it (True), numbered from 1; what `seen` raises is raised as if the driver had. `lost` is
    a fixture: it makes the driver's own error of a lost connection.
    """

    orders: ClassVar[int] = 12
    """How many orders of each history are tried; it has 24."""

    @pytest.fixture
    def watch(self) -> Watch:
        raise NotImplementedError("make a fixture `watch` that sees your driver's statements")

    @pytest.fixture
    def lost(self) -> Callable[[], Exception]:
        raise NotImplementedError("make a fixture `lost`: the driver's error of a lost connection")

    # ---- any order

    @pytest.mark.parametrize(
        "history",
        ["append", "append_swap", "replace", "merge", "merge_swap", "file", "file_swap"],
    )
    def test_every_order_of_loading_leaves_the_same_table(
        self, warehouse: Warehouse, staged: StagedFolder, history: str
    ) -> None:
        orders = list(itertools.permutations(range(4)))
        chosen = chance(history).sample(orders, min(self.orders, len(orders)))
        to, requests, expected = histories(staged)[history]
        for at, order in enumerate(chosen):
            here = elsewhere(to, f"{history}_{at}")
            for place in (*order, order[0]):
                warehouse.load(aimed(requests[place], here))
            assert table(warehouse, here, *COLUMNS) == expected, order

    def test_random_histories_leave_the_rows_that_the_rules_name(
        self, warehouse: Warehouse, staged: StagedFolder
    ) -> None:
        for seed in range(self.orders // 3):
            here, dice = target(f"random_{seed}"), chance(str(seed))
            requests, expected = random_appends(staged, here, dice)
            dice.shuffle(requests)
            for asked in (*requests, *dice.sample(requests, 2)):
                warehouse.load(asked)
            assert table(warehouse, here, *COLUMNS) == expected, seed

    # ---- any failure

    @pytest.mark.parametrize("write", ["append", "merge", "replace"])
    def test_whatever_statement_is_the_last_nothing_is_half_done(
        self,
        warehouse: Warehouse,
        staged: StagedFolder,
        watch: Watch,
        lost: Callable[[], Exception],
        write: Literal["append", "merge", "replace"],
    ) -> None:
        base, change = changes(staged, write)
        after = self._changed(warehouse, base, change, target("clean", write))
        here = target("here", write)
        warehouse.load(aimed(base, here))
        before = found = state(warehouse, here)
        last = 0

        def fail(number: int, done: bool) -> None:
            if number == last and done:
                raise lost()

        while found == before:
            last += 1
            with watch(warehouse, fail), pytest.raises(Transient):
                warehouse.load(aimed(change, here))
            found = state(warehouse, here)
            assert found in (before, after), last
        assert last > 10
        for _ in range(2):
            warehouse.load(aimed(change, here))
            assert state(warehouse, here) == after

    def _changed(
        self, warehouse: Warehouse, base: LoadRequest, change: LoadRequest, here: Target
    ) -> object:
        warehouse.load(aimed(base, here))
        before = state(warehouse, here)
        warehouse.load(aimed(change, here))
        after = state(warehouse, here)
        assert before != after
        return after

    def test_a_commit_whose_answer_is_lost_is_read_from_the_ledger(
        self,
        warehouse: Warehouse,
        staged: StagedFolder,
        watch: Watch,
        lost: Callable[[], Exception],
    ) -> None:
        to, asked = target(), request(target(), staged.chunk([(1, "a")]), load_id="lost")
        numbers: list[int] = []
        with watch(warehouse, lambda number, _: numbers.append(number)):
            warehouse.load(request(target("other"), staged.chunk([(1, "a")])))
        last = max(numbers)

        def fail(number: int, done: bool) -> None:
            if number == last and done:
                raise lost()

        with watch(warehouse, fail), pytest.raises(Transient):
            warehouse.load(asked)
        assert table(warehouse, to, *COLUMNS) == [(1, "a")]
        (receipt,) = warehouse.load(request(to, asked.chunks[0], load_id="again"))
        assert (receipt.load_id, receipt.status, receipt.rows) == ("lost", "loaded", 1)

    # ---- others beside it

    def test_a_reader_sees_the_old_rows_until_commit(
        self, warehouse: Warehouse, staged: StagedFolder, watch: Watch
    ) -> None:
        to = target(write="replace")
        warehouse.load(request(to, staged.chunk([(1, "old")])))
        seen: list[list[tuple[Any, ...]]] = []

        def read(_: int, done: bool) -> None:
            if not done:
                seen.append(table(warehouse, to, *COLUMNS))

        with watch(warehouse, read):
            warehouse.load(request(to, staged.chunk([(2, "new")], run=2), swap=plan(2)))
        assert len(seen) > 5
        assert all(rows == [(1, "old")] for rows in seen)
        assert table(warehouse, to, *COLUMNS) == [(2, "new")]

    def test_loads_at_once_take_turns_and_each_chunk_lands_once(
        self, warehouse: Warehouse, opener: Callable[[], Warehouse], staged: StagedFolder
    ) -> None:
        to = target()
        other = opener()
        other.open()
        requests = [
            request(to, staged.chunk([(n, "a"), (n, "b")], number=n), load_id=f"{n}.{again}")
            for n in range(4)
            for again in range(2)
        ]
        with ThreadPoolExecutor(4) as workers:
            asked = zip([warehouse, other] * 4, requests, strict=True)
            receipts = list(workers.map(lambda pair: insistently(*pair), asked))
        other.close()
        assert table(warehouse, to, *COLUMNS) == [(n, x) for n in range(4) for x in ("a", "b")]
        for first, second in zip(receipts[::2], receipts[1::2], strict=True):
            assert [r.load_id for r in first] == [r.load_id for r in second]

    def test_swaps_at_once_leave_one_run(
        self, warehouse: Warehouse, opener: Callable[[], Warehouse], staged: StagedFolder
    ) -> None:
        to = target(write="replace")
        other = opener()
        other.open()
        warehouse.load(request(to, staged.chunk([(0, "a")])))
        requests = [
            request(to, staged.chunk([(run, "a")] * 2, run=run), swap=plan(run))
            for run in (2, 3, 4, 5)
        ]
        with ThreadPoolExecutor(4) as workers:
            asked = zip([warehouse, other] * 2, requests, strict=True)
            list(workers.map(lambda pair: insistently(*pair), asked))
        other.close()
        assert table(warehouse, to, *COLUMNS) == [(5, "a"), (5, "a")]


def chance(seed: str) -> random.Random:
    """The same throws for the same seed."""
    return random.Random(seed)  # noqa: S311 - no secret comes of it


def insistently(warehouse: Warehouse, asked: LoadRequest) -> list[Receipt]:
    """The load, tried again while it is Transient, as a runtime would."""
    for _ in range(200):
        try:
            return warehouse.load(asked)
        except Transient:
            continue
    raise AssertionError("200 loads were Transient")


def elsewhere(to: Target, name: str) -> Target:
    return Target(
        to.stream, to.schema, name, to.write, to.primary_key, to.version, reupload=to.reupload
    )


def aimed(asked: LoadRequest, to: Target) -> LoadRequest:
    return LoadRequest(asked.load_id, to, asked.contract, asked.chunks, asked.swap)


def state(warehouse: Warehouse, to: Target) -> object:
    """All that a load may change: columns, rows and ledger, but for names and moments."""
    answer = warehouse.query(f'SELECT * FROM "{to.schema}"."{to.table}"')
    ledger = [
        (row.chunk, row.generation, row.seq, row.status, row.rows)
        for row in warehouse.ledger(str(to))
    ]
    return answer.columns, answer.types, sorted(map(str, answer.rows)), ledger


def changes(
    staged: StagedFolder, write: Literal["append", "merge", "replace"]
) -> tuple[LoadRequest, LoadRequest]:
    """A first load, and one that does all at once: columns, types, rows that go and that come."""
    merge, to = write == "merge", target(write=write)
    swap = plan(2) if write == "replace" else None
    base = request(to, staged.chunk([(1, "a"), (2, "a")], merge=merge))
    wide = {"id": "decimal(21,2)", "note": "varchar", "more": "date"}
    rows = [(1, "b", None), (3, "b", "2026-01-01"), (3, "c", None)]
    first = staged.chunk(rows, wide, run=2, version=2, merge=merge)
    second = staged.chunk([(2, "c", None)], wide, generation=1, version=2, merge=merge)
    return base, request(to, first, *(() if swap else (second,)), swap=swap)


def histories(staged: StagedFolder) -> Mapping[str, History]:
    """Small histories of four requests each, in which every rule about order has a part."""
    return dict(_histories(staged))


def _histories(staged: StagedFolder) -> Iterator[tuple[str, History]]:
    chunk = staged.chunk
    append, replace = target(), target(write="replace")
    a, a1 = chunk([(1, "a"), (1, "a")]), chunk([(1, "a1")], generation=1)
    b, c = chunk([(2, "b")], run=2), chunk([(3, "c")], number=1)
    yield (
        "append",
        (
            append,
            [request(append, a), request(append, a1), request(append, b), request(append, c, a)],
            [(1, "a1"), (2, "b"), (3, "c")],
        ),
    )
    swap = [chunk([(5, "s")], run=3), chunk([(6, "s")], run=3, part=1)]
    d = chunk([(7, "d")], run=4)
    yield "append_swap", (
        append,
        [
            request(append, a, b), request(append, a1, d), request(append, *swap, swap=plan(3)),
            request(append, swap[0], chunk([(6, "t")], run=3, part=1, generation=1), swap=plan(3)),
        ],
        [(5, "s"), (6, "t"), (7, "d")],
    )  # fmt: skip
    runs = {run: [chunk([(run, "x")] * 2, run=run), chunk([], run=run, part=1)] for run in (1, 2)}
    again = {run: chunk([(run, "y")], run=run, generation=1) for run in (1, 2)}
    yield (
        "replace",
        (
            replace,
            [request(replace, *runs[run], swap=plan(run)) for run in (1, 2)]
            + [request(replace, again[run], runs[run][1], swap=plan(run)) for run in (1, 2)],
            [(2, "y")],
        ),
    )
    yield from _merges(staged)
    yield from _files(staged)


def _merges(staged: StagedFolder) -> Iterator[tuple[str, History]]:
    old, new = naive("2026-01-01"), naive("2026-01-02")

    def chunk(rows: Sequence[tuple[Any, ...]], **place: Any) -> Any:
        return staged.chunk(rows, MERGED, merge=True, **place)

    to = target(write="merge", version="at")
    one = chunk([(1, new, "one"), (2, old, "one"), (2, old, "two")])
    again = chunk([(1, new, "again"), (2, old, "again"), (2, old, "last")], generation=1)
    two = chunk([(1, old, "late"), (2, None, "null"), (3, old, "x"), (4, new, "y")], run=2)
    three = chunk([(3, old, "z"), (4, old, "z")], run=3)
    yield (
        "merge",
        (
            to,
            [request(to, one), request(to, again), request(to, two), request(to, three, one)],
            [(1, "again"), (2, "last"), (3, "z"), (4, "y")],
        ),
    )
    refresh = [chunk([(1, new, "s"), (2, new, "s")], run=3), chunk([(9, None, "s")], run=3, part=1)]
    after = chunk([(1, new, "after"), (2, old, "after"), (5, old, "after")], run=4)
    yield "merge_swap", (
        to,
        [request(to, one), request(to, again, two), request(to, *refresh, swap=plan(3)),
         request(to, after)],
        [(1, "after"), (2, "s"), (5, "after"), (9, "s")],
    )  # fmt: skip


def _files(staged: StagedFolder) -> Iterator[tuple[str, History]]:
    def chunk(rows: Sequence[tuple[Any, ...]], origin: str, **place: Any) -> Any:
        return staged.chunk(rows, origin=origin, **place)

    to = target(reupload="replace")
    p1, q1 = chunk([(1, "p"), (2, "p")], "p.csv"), chunk([(3, "q")], "q.csv", number=1)
    p1_again = chunk([(1, "P")], "p.csv", generation=1)
    p2, p3 = (chunk([(1, f"p{run}")], "p.csv", run=run) for run in (2, 3))
    p3_more = chunk([(2, "more")], "p.csv", run=3, number=1)
    yield (
        "file",
        (
            to,
            [
                request(to, p1, q1),
                request(to, p1_again, p2),
                request(to, p3),
                request(to, p3_more, p1),
            ],
            [(1, "p3"), (2, "more"), (3, "q")],
        ),
    )
    yield "file_swap", (
        to,
        [request(to, p1, q1), request(to, p2, swap=plan(2, paths=["p.csv", "gone.csv"])),
         request(to, p3, p3_more, swap=plan(3, paths=["p.csv"])), request(to, p1_again)],
        [(1, "p3"), (2, "more"), (3, "q")],
    )  # fmt: skip


def random_appends(
    staged: StagedFolder, to: Target, dice: random.Random
) -> tuple[list[LoadRequest], list[tuple[Any, ...]]]:
    """Runs of an append stream, some of which replace, and what has to be left of them."""
    requests: list[LoadRequest] = []
    kept: dict[tuple[int, int], tuple[int, list[tuple[Any, ...]]]] = {}
    swapped = 0
    for run in range(1, 6):
        chunks = []
        for number in range(dice.randint(1, 2)):
            for generation in range(dice.randint(1, 2)):
                rows = [(run, f"{number}.{generation}")] * dice.randint(0, 2)
                place = {"run": run, "number": number, "generation": generation}
                chunks.append(staged.chunk(rows, **place))  # type: ignore[arg-type]
                kept[run, number] = (generation, rows)
        if dice.random() < 0.3:
            swapped = run
            requests.append(request(to, *chunks, swap=plan(run)))
        else:
            requests.extend(request(to, chunk) for chunk in chunks)
    rows = [row for (run, _), (_, rows) in kept.items() if run >= swapped for row in rows]
    return requests, sorted(rows)
