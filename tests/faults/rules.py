"""The rules of the protocol, each broken by a small edit (see `mutants`)."""

from __future__ import annotations

from dataclasses import dataclass


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
        "    take_lock(session, str(request.target), request.load_id)\n"
        "    facts = read_facts(session, request)\n",
        "    facts = read_facts(session, request)\n"
        '    session._connection.execute("COMMIT")\n    session._connection.execute("BEGIN")\n'
        "    take_lock(session, str(request.target), request.load_id)\n",
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
FILES = (
    _mutant(
        "claims-not-recorded",
        2,
        f"{STAGES}/plan.py",
        "        _record_claim(journal, plan.key, path, claimed)\n",
        "        pass\n",
        "files",
    ),
    _mutant(
        "files-again-beside-the-old",
        11,
        LOADING,
        'f"DELETE FROM {table} WHERE {FILE} IN ({marks(len(batch), 2)}) AND {SEQ} < $1",',
        'f"DELETE FROM {table} WHERE {FILE} IN ({marks(len(batch), 2)}) AND {SEQ} < $1 AND false",',
        "files",
    ),
    _mutant(
        "files-of-later-runs-deleted",
        11,
        LOADING,
        'f"DELETE FROM {table} WHERE {FILE} IN ({marks(len(batch), 2)}) AND {SEQ} < $1",',
        'f"DELETE FROM {table} WHERE {FILE} IN ({marks(len(batch), 2)}) AND {SEQ} <> $1",',
        "files",
    ),
    _mutant(
        "older-files-not-superseded",
        11,
        LEDGER,
        "        for path, seq in (*facts.origins, *asked):\n"
        "            newest[path] = max(newest.get(path, -1), seq)\n",
        "        pass\n",
        "files",
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
        "yield SlicePlanned(plan.key, plan.run_id, plan.seq, part.number, plan.digest)",
        "pass",
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
        "        state = read_run(journal, store, plan)\n"
        "        head, _ = read_head(journal, key)\n        if state.closing",
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
MUTANTS = (*PLANNING, *EXTRACTING, *TRANSFORMING, *LOADING_RULES, *FILES, *HEALING)
