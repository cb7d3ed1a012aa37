"""Each rule of the protocol, broken by a small edit, and the harness that must notice.

    python -m tests.faults.mutants                 every mutant
    python -m tests.faults.mutants open-run last   those

An edit replaces text that stands exactly once in a file; a mutant that no longer applies fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import penstock

PACKAGE = Path(penstock.__file__).parent
TESTS = Path(__file__).parent
SEEDS = 600


@dataclass(frozen=True, slots=True)
class Edit:
    """In `file` (of the package, or of the harness), `old` becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule of DESIGN.md, broken.

    Shape: `modes` are simulated one after the other until one of them notices.
    """

    name: str
    rule: int
    edits: tuple[Edit, ...]
    modes: tuple[str, ...] = ("append", "merge", "replace")

    def applied(self, folder: Path) -> None:
        """`folder` holds the package and the harness, with the rule broken."""
        shutil.copytree(PACKAGE, folder / "penstock", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(
            TESTS, folder / "tests" / "faults", ignore=shutil.ignore_patterns("__pycache__")
        )
        for edit in self.edits:
            path = folder / edit.file
            text = path.read_text(encoding="utf-8")
            assert text.count(edit.old) == 1, f"{self.name}: {edit.file} has not once: {edit.old}"
            path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")

    def noticed(self, seeds: int = SEEDS) -> str:
        """What the simulation said; empty if the mutant survived."""
        with tempfile.TemporaryDirectory(prefix=f"mutant-{self.name}-") as name:
            folder = Path(name)
            self.applied(folder)
            for mode in self.modes:
                command = ["-m", "tests.faults.simulate", "--mode", mode, "--seeds", f"0:{seeds}"]
                done = subprocess.run(
                    [sys.executable, *command],
                    cwd=folder,
                    env={**os.environ, "PYTHONPATH": str(folder)},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode in (0, 1), done.stderr
                told = [line for line in done.stderr.splitlines() if line.startswith(mode)]
                assert done.returncode == 0 or told, done.stderr
                if told:
                    return told[0]
        return ""


STAGES, LOADING = "penstock/stages", "penstock/warehouses/loading.py"
LEDGER = "penstock/warehouses/ledger.py"


def _mutant(name: str, rule: int, file: str, old: str, new: str, *modes: str) -> Mutant:
    return Mutant(name, rule, (Edit(file, old, new),), modes or ("append", "merge", "replace"))


def _recreated(key: str, body: str) -> str:
    """An unconditional put, where a create was."""
    return f"(self.store.delete([{key}]), self.store.create({key}, {body}))[1]"


_LINK = ("layout.link_key(plan.key, chunk)", "codec.to_json(link).encode()")
_MANIFEST = ("layout.slice_manifest_key(plan.key, plan.run_id, part.number)", "manifest")

PLANNING = (
    _mutant(
        "open-run",
        1,
        f"{STAGES}/plan.py",
        "self.journal.swap(layout.head_entry(key), codec.plain(opened), version)",
        "self.journal.swap(layout.head_entry(key), codec.plain(opened), "
        "read_head(self.journal, key)[1])",
    ),
    _mutant(
        "head-moved-by-anybody",
        6,
        f"{STAGES}/plan.py",
        "if journal.swap(layout.head_entry(plan.key), codec.plain(closed), version):",
        "if journal.swap(layout.head_entry(plan.key), codec.plain(closed), "
        "read_head(journal, plan.key)[1]):",
    ),
    _mutant(
        "plan-overwritten",
        1,
        f"{STAGES}/plan.py",
        "if self.journal.swap(layout.plan_entry(key, plan.seq), codec.plain(plan), None):",
        "there = self.journal.read(layout.plan_entry(key, plan.seq))\n"
        "        if self.journal.swap(layout.plan_entry(key, plan.seq), codec.plain(plan), "
        "there.version if there else None):",
    ),
    _mutant(
        "waiting-not-durable",
        1,
        f"{STAGES}/plan.py",
        "            self._wait_in_line(key, trigger)\n"
        "            head, version = read_head(self.journal, key)\n",
        "            head, version = read_head(self.journal, key)\n"
        "            if not head.open:\n                self._wait_in_line(key, trigger)\n",
    ),
    _mutant(
        "refresh-waits",
        1,
        f"{STAGES}/plan.py",
        'kind = min(waiting, key=lambda trigger: trigger.kind != "refresh").kind',
        "kind = waiting[0].kind",
    ),
    _mutant(
        "run-id-twice",
        2,
        f"{STAGES}/plan.py",
        "|{trigger.kind}|{trigger.id}|{seq}",
        "|{trigger.kind}|{trigger.id}",
    ),
    _mutant(
        "window-not-bounded",
        3,
        "tests/faults/source.py",
        "    bounded: bool = True",
        "    bounded: bool = False",
    ),
    _mutant(
        "cursor-moves-early",
        6,
        f"{STAGES}/plan.py",
        " or not is_complete(store, plan):",
        ":",
    ),
    _mutant(
        "triggers-not-marked",
        6,
        f"{STAGES}/plan.py",
        "        mark_done(journal, plan.key, trigger_id, plan.run_id)\n    closed",
        "        pass\n    closed",
    ),
    _mutant(
        "start-over-without-refresh",
        11,
        f"{STAGES}/hands.py",
        "    journal.swap(layout.waiting_entry(key, request.id), codec.plain(request), None)\n",
        "",
    ),
)
EXTRACTING = (
    _mutant(
        "link-overwritten",
        4,
        f"{STAGES}/extract.py",
        f"if self.store.create({', '.join(_LINK)}):",
        "if " + _recreated(*_LINK) + ":",
    ),
    _mutant(
        "own-rows-after-lost-create",
        4,
        f"{STAGES}/extract.py",
        "return stored, stored == link",
        "return link, True",
    ),
    _mutant(
        "not-at-the-winners-position",
        4,
        f"{STAGES}/extract.py",
        "if not won or tail.last:",
        "if tail.last:",
    ),
    _mutant(
        "chunk-after-the-last",
        4,
        f"{STAGES}/extract.py",
        "        while tail is None or not tail.last:\n",
        "        ended = False\n        while not ended:\n            ended = True\n",
    ),
    _mutant(
        "manifest-overwritten",
        5,
        f"{STAGES}/extract.py",
        f"self.store.create({', '.join(_MANIFEST)})",
        _recreated(*_MANIFEST),
    ),
    _mutant(
        "no-manifest-asked",
        5,
        f"{STAGES}/state.py",
        "chain = sorted(found.get((part.number, attempt), [])) if attempt is not None else []",
        "chain = sorted(found.get((part.number, max((a for n, a in found if n == part.number), "
        'default="")), []))',
    ),
)
TRANSFORMING = (
    _mutant(
        "commit-overwritten",
        7,
        f"{STAGES}/transform.py",
        "if self.store.create(commit_key, codec.to_json(commit).encode()):",
        "if " + _recreated("commit_key", "codec.to_json(commit).encode()") + ":",
    ),
    _mutant(
        "shared-file-names",
        7,
        f"{STAGES}/transform.py",
        "attempt = uuid.uuid4().hex[:8]",
        'attempt = "shared"',
    ),
    _mutant(
        "rejection-not-durable",
        8,
        f"{STAGES}/transform.py",
        "            self._reject(plan, link, message, str(error))\n",
        "",
    ),
    _mutant(
        "todays-file-for-work-in-flight",
        8,
        f"{STAGES}/reconcile.py",
        "            if rejection.digest != digest:\n",
        "            if False:\n",
    ),
)
LOADING_RULES = (
    _mutant(
        "ledger-after-commit",
        9,
        LOADING,
        "    write_entries(session, request, verdict, at)\n",
        '    session._connection.execute("COMMIT")\n    session._connection.execute("BEGIN")\n'
        "    write_entries(session, request, verdict, at)\n",
    ),
    _mutant(
        "ledger-read-before-the-lock",
        9,
        LOADING,
        "    session.lock(str(request.target), request.load_id)\n"
        "    facts = read_facts(session, request)\n",
        "    facts = read_facts(session, request)\n"
        '    session._connection.execute("COMMIT")\n    session._connection.execute("BEGIN")\n'
        "    session.lock(str(request.target), request.load_id)\n",
    ),
    _mutant(
        "generation-ignored-by-load",
        10,
        LEDGER,
        "elif entry is not None and entry.generation >= commit.generation:",
        "elif entry is not None:",
    ),
    _mutant(
        "older-generation-loads",
        10,
        LEDGER,
        "elif entry is not None and entry.generation >= commit.generation:",
        "elif entry is not None and entry.generation == commit.generation:",
    ),
    _mutant(
        "generation-ignored-by-receipts",
        10,
        f"{STAGES}/state.py",
        "receipt.generation >= self.wanted(chunk).number or",
        "True or",
    ),
    _mutant(
        "replay-does-not-delete",
        10,
        LOADING,
        "        if str(staged.commit.chunk) in facts.entries\n",
        "        if False\n",
        "append",
        "replace",
    ),
    Mutant(
        "swap-before-complete",
        11,
        (
            Edit(
                f"{STAGES}/load.py",
                "if not closed or not state.complete or state.unstaged or not state.unloaded:",
                "if not state.unloaded:",
            ),
            Edit(
                f"{STAGES}/load.py",
                "self._load(state, stream, sorted(state.links), state.plan)",
                "self._load(state, stream, sorted(state.commits), state.plan)",
            ),
        ),
        ("replace", "append"),
    ),
    _mutant(
        "swap-deletes-later-runs",
        11,
        LOADING,
        'session.run(f"DELETE FROM {table} WHERE {SEQ} < $1", (swap.seq,))',
        'session.run(f"DELETE FROM {table} WHERE {SEQ} <> $1", (swap.seq,))',
        "append",
        "merge",
    ),
    _mutant(
        "swap-deletes-nothing",
        11,
        LOADING,
        'session.run(f"DELETE FROM {table} WHERE {SEQ} < $1", (swap.seq,))',
        "pass",
    ),
    _mutant(
        "no-superseding",
        11,
        LEDGER,
        "elif facts.swap_seq > staged.seq or paths",
        "elif paths",
    ),
    _mutant(
        "merge-tie-without-seq",
        12,
        LOADING,
        'f"({side}.{SEQ}, coalesce',
        'f"(coalesce',
        "merge",
    ),
    _mutant(
        "merge-null-is-newest",
        12,
        LOADING,
        "WHEN {new} IS NULL THEN false",
        "WHEN {new} IS NULL THEN true",
        "merge",
    ),
    _mutant(
        "merge-last-wins",
        12,
        LOADING,
        'session.run(f"DELETE FROM {table} t USING {greatest} s WHERE {same} AND {beats}")',
        'session.run(f"DELETE FROM {table} t USING {greatest} s WHERE {same}")',
        "merge",
    ),
)
HEALING = (
    _mutant(
        "ack-before-send",
        13,
        "penstock/runtimes/embedded.py",
        "            outcome = settle(stage, message, self._send_one)  # type: ignore[arg-type]\n",
        "            for delivery in deliveries:\n                queue.ack(delivery)\n"
        "            outcome = settle(stage, message, self._send_one)  # type: ignore[arg-type]\n",
    ),
    _mutant(
        "reconcile-without-slices",
        13,
        f"{STAGES}/reconcile.py",
        "            yield SlicePlanned(plan.key, plan.run_id, plan.seq, part.number, plan.digest)\n",
        "            pass\n",
    ),
    _mutant(
        "reconcile-without-cursor",
        13,
        f"{STAGES}/reconcile.py",
        "    if state.complete:\n        yield from finish(journal, store, plan)\n",
        "    if state.complete:\n",
    ),
    _mutant(
        "reconcile-without-chunks",
        13,
        f"{STAGES}/reconcile.py",
        "            continue\n        yield _extracted(plan, chunk, wanted)\n",
        "            continue\n",
    ),
    _mutant(
        "reconcile-without-hints",
        13,
        f"{STAGES}/reconcile.py",
        "        if _may_load(journal, state):\n",
        "        if False:\n",
    ),
    _mutant(
        "reconcile-without-heads-by-hand",
        13,
        f"{STAGES}/reconcile.py",
        "        yield from finish(journal, store, by_hand)\n",
        "        pass\n",
    ),
    _mutant(
        "hints-for-ever",
        13,
        f"{STAGES}/reconcile.py",
        "if not state.unloaded or not (plan.swap or plan.asserted):",
        "if True:",
        "replace",
    ),
    _mutant(
        "given-up-by-a-late-look",
        13,
        f"{STAGES}/reconcile.py",
        "        state = read_run(journal, store, plan)\n        if state.closing",
        "        state = read_run(journal, store, plan)\n        head, _ = read_head(journal, key)\n"
        "        if state.closing",
    ),
    _mutant(
        "given-up-runs-stay",
        13,
        f"{STAGES}/reconcile.py",
        "if state.closing is not None or (head.seq > plan.seq and not state.complete):",
        "if state.closing is not None:",
    ),
    _mutant(
        "closed-runs-stay",
        13,
        f"{STAGES}/reconcile.py",
        "            _forget(journal, plan)\n            continue\n",
        "            continue\n",
    ),
    _mutant(
        "intention-not-done",
        13,
        f"{STAGES}/reconcile.py",
        "        for chunk, generation in read_intended(listed).items():\n"
        "            _want(journal, plan, chunk, generation)\n        state",
        "        state",
    ),
    _mutant(
        "intention-taken-off",
        13,
        f"{STAGES}/load.py",
        "if state.settled and all(state.wanted(c).number >= g.number for c, g in intended):",
        "if state.settled:",
    ),
    _mutant(
        "settled-while-open",
        13,
        f"{STAGES}/load.py",
        "if entry is None or (head.open and head.seq == plan.seq):",
        "if entry is None:",
    ),
    _mutant(
        "gc-without-accounting",
        14,
        f"{STAGES}/gc.py",
        "            if not is_accounted_for(journal, state):\n                continue\n",
        "",
    ),
    _mutant(
        "closed-run-loads",
        14,
        LEDGER,
        "if chunk.run_id in facts.closed:",
        "if False:",
    ),
)
MUTANTS = (*PLANNING, *EXTRACTING, *TRANSFORMING, *LOADING_RULES, *HEALING)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    survivors = []
    for mutant in MUTANTS:
        if options.names and mutant.name not in options.names:
            continue
        began = time.monotonic()
        told = mutant.noticed(options.seeds)
        if not told:
            survivors.append(mutant.name)
        print(
            f"{mutant.name} (rule {mutant.rule}): {told or 'SURVIVES'} "
            f"({time.monotonic() - began:.0f} s)",
            flush=True,
        )
    if survivors:
        print(f"survivors: {', '.join(survivors)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
