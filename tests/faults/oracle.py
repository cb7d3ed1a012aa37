"""What the source's history demands of the warehouse, and what must hold at every moment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.settings import KEY, TARGET, Violation

from penstock import codec, layout
from penstock.engine import literal
from penstock.model import ChunkId, Commit, Link, Plan, Target
from penstock.stages.audit import audit_stream
from penstock.stages.hands import given_up
from penstock.stages.state import read_head, read_plans, read_wanted, unsettled_plans

if TYPE_CHECKING:
    from tests.faults.simulation import Simulation


class Oracle:
    """Judges a simulation from outside: by what was ever stored, the table, and the source."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.mode = simulation.settings.mode
        self.target = Target("s", "main", "t", "append")

    def fail(self, what: str) -> None:
        raise Violation(what)

    # ---- at every moment

    def check_table(self) -> None:
        """No row twice, and a replaced table holds one run."""
        rows = self._rows()
        by = 0 if self.mode == "merge" else 3
        for value, times in Counter(row[by] for row in rows).items():
            if times > 1:
                name = "key k" if by == 0 else "row u"
                self.fail(f"{name}{value} is {times} times in the warehouse")
        if self.mode == "replace" and len({row[4] for row in rows}) > 1:
            self.fail("rows of two runs stand in a replaced table")

    def check_audit(self, final: bool) -> None:
        simulation = self.simulation
        counted = None if self.mode == "merge" else simulation.warehouse.count(self.target, True)
        audit = audit_stream(
            simulation.journal.inner,
            simulation.store.inner,
            KEY,
            simulation.warehouse.ledger(TARGET),
            counted,
        )
        if not audit.holds(final):
            told = [f"{run.run_id} {run.status} {run.broken}" for run in audit.runs]
            self.fail(f"the audit does not hold: {audit.broken} {told}")

    def _rows(self) -> list[tuple[int, ...]]:
        """(k, cur, ver, uid, seq) of the target."""
        if not self.simulation.warehouse.count(self.target)[""]:
            return []
        found = self.simulation.warehouse.query("SELECT k, cur, ver, uid, _penstock_seq FROM t")
        return list(found.rows)  # type: ignore[arg-type]

    # ---- at the end

    def check_end(self) -> None:
        self.check_table()
        self.check_audit(final=True)
        self._check_nothing_waits()
        self._check_closed_runs()
        plans = self._counting_plans()
        links = {link.chunk: link for plan in plans for link in self._links(plan)}
        if self.mode == "files":
            links = _newest_of_files(plans, links)
        good = self._good(plans, links)
        self._check_extracted(plans, links)
        if self.mode == "merge":
            self._check_merged(good)
        else:
            self._check_loaded(good)

    def _check_nothing_waits(self) -> None:
        journal = self.simulation.journal.inner
        for plan in unsettled_plans(journal, KEY):
            self.fail(f"run {plan.run_id} stays unsettled for ever")
        for entry in journal.scan(layout.waiting_entries(KEY)):
            if journal.read(layout.trigger_entry(KEY, entry.value["id"])) is None:
                self.fail(f"a trigger waits for ever: {entry.value['id']}")
        for trigger in self.simulation.accepted:
            if journal.read(layout.trigger_entry(KEY, trigger.id)) is None:
                self.fail(f"trigger {trigger.id} was accepted, and never had its run")
        if read_head(journal, KEY)[0].open:
            self.fail("a run stays open for ever")

    def _check_closed_runs(self) -> None:
        warehouse = self.simulation.warehouse
        for run_id, rows in warehouse.closed.items():
            if warehouse.ledger_of(run_id) != rows:
                self.fail(f"run {run_id} was loaded again after it was closed")

    def _counting_plans(self) -> list[Plan]:
        """The last run that replaced everything, and those after it."""
        plans = [p for p in read_plans(self.simulation.journal.inner, KEY) if p.by_hand is None]
        abandoned = given_up(read_plans(self.simulation.journal.inner, KEY))
        swaps = [
            p.seq for p in plans if p.swap and p.scope == "table" and p.run_id not in abandoned
        ]
        since = max(swaps, default=0)
        return [plan for plan in plans if plan.seq >= since and plan.run_id not in abandoned]

    def _links(self, plan: Plan) -> Iterator[Link]:
        """The chains that count, from all that was ever stored."""
        ever = self.simulation.store.ever
        for part in plan.window.slices:
            attempt = ""
            if not part.resumable:
                key = layout.slice_manifest_key(KEY, plan.run_id, part.number)
                attempt = json.loads(ever[key])["attempt"]
            number = 0
            while True:
                chunk = ChunkId("s", plan.run_id, part.number, attempt, number)
                body = ever.get(layout.link_key(KEY, chunk))
                if body is None:
                    break
                link = codec.from_json(Link, body)
                yield link
                if link.last:
                    break
                number += 1

    def _commit(self, plan: Plan, chunk: ChunkId) -> Commit:
        wanted = read_wanted(self.simulation.journal.inner, plan, chunk).number
        for generation in range(wanted, -1, -1):
            # A replay that came after the run was closed is void.
            body = self.simulation.store.ever.get(layout.commit_key(plan, chunk, generation))
            if body is not None:
                return codec.from_json(Commit, body)
        self.fail(f"chunk {chunk} was never transformed")
        raise AssertionError

    def _good(self, plans: list[Plan], links: dict[ChunkId, Link]) -> dict[int, int]:
        """uid -> seq of the good rows in the wanted generation of every chunk that counts."""
        by_run = {plan.run_id: plan for plan in plans}
        store, seqs, paths = self.simulation.store, {}, []
        for chunk in links:
            plan = by_run[chunk.run_id]
            for file in self._commit(plan, chunk).good:
                path = self.simulation.folder / f"oracle-{len(paths)}.parquet"
                path.write_bytes(store.ever[file.key])
                paths.append(path)
                seqs[str(path)] = plan.seq
        return {uid: seqs[name] for name, uid in self._uids(paths)}

    def _uids(self, paths: list[Path]) -> list[tuple[str, int]]:
        if not paths:
            return []
        listed = ", ".join(literal(str(path)) for path in paths)
        return self.simulation.connection.execute(
            f"SELECT filename, uid FROM read_parquet([{listed}], filename = true)"
        ).fetchall()

    def _check_extracted(self, plans: list[Plan], links: dict[ChunkId, Link]) -> None:
        """Every row that the source shows now was read, and once where rows never change."""
        store, table = self.simulation.store, self.simulation.table
        read = Counter(row.uid for link in links.values() for row in store.rows[link.file.key])
        if self.mode == "replace":
            last = plans[-1].run_id if plans else ""
            read = Counter(
                row.uid
                for chunk, link in links.items()
                if chunk.run_id == last
                for row in store.rows[link.file.key]
            )
        for row in table.rows.values():
            if not read[row.uid]:
                self.fail(f"row u{row.uid} (cur {row.cur}) was never read: it is lost")
        if self.mode == "append":
            twice = [f"u{uid}" for uid, times in read.items() if times > 1]
            if twice:
                self.fail(f"rows were read twice: {twice}")
        if self.mode == "replace":
            gone = set(read) - {row.uid for row in table.rows.values()}
            if gone:
                self.fail(f"rows that the source does not have: {sorted(gone)}")

    def _check_loaded(self, good: dict[int, int]) -> None:
        found = {row[3]: row[4] for row in self._rows()}
        if found != good:
            lost = sorted(f"u{uid}" for uid in set(good) - set(found))
            more = sorted(f"u{uid}" for uid in set(found) - set(good))
            self.fail(f"the table is not what was staged: lost {lost}, too many {more}")

    def _check_merged(self, good: dict[int, int]) -> None:
        """Each key has the source's row, unless that one was quarantined."""
        found = {row[0]: row for row in self._rows()}
        for row in self.simulation.table.rows.values():
            if row.uid not in good:
                continue
            if row.k not in found:
                self.fail(f"key k{row.k} (u{row.uid}) is lost")
            if found[row.k][3] != row.uid:
                self.fail(f"key k{row.k}: the table has u{found[row.k][3]}, the source u{row.uid}")
        ever = self.simulation.table.ever
        for k, row_ in found.items():
            if ever[row_[3]].values != row_[:4]:
                self.fail(f"key k{k}: {row_} was never a row of the source")


def _newest_of_files(plans: list[Plan], links: dict[ChunkId, Link]) -> dict[ChunkId, Link]:
    """The chunks of each path's last version."""
    seqs = {plan.run_id: plan.seq for plan in plans}
    newest: dict[str, int] = {}
    for chunk, link in links.items():
        newest[link.origin] = max(newest.get(link.origin, 0), seqs[chunk.run_id])
    return {
        chunk: link for chunk, link in links.items() if newest[link.origin] == seqs[chunk.run_id]
    }
