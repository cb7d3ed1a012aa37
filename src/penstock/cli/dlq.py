"""`penstock dlq`: dead messages, why they died, and how to bring them back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from penstock import codec
from penstock.cli import options
from penstock.cli.live import watched
from penstock.cli.opened import chosen, meet, opened, who
from penstock.cli.show import document, number, say, table
from penstock.errors import Rejected, SpecError
from penstock.model import ChunkExtracted, Message, SlicePlanned
from penstock.observe.progress import Progress
from penstock.ports import DeadLetter
from penstock.runtimes.replay import known_pipeline, settle_all, work_on
from penstock.runtimes.workspace import Workspace
from penstock.stages.reconcile import regenerate
from penstock.stages.state import read_plan

app = options.family("List, show, redrive or discard dead messages.")
AT_ONCE = 50
"""Messages that are brought back together, after the first went well."""
Which = Annotated[
    str, typer.Argument(metavar="[STREAM|ID]", help="Of a stream, or the one whose id starts so.")
]


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead message; `message` is None when nobody can read it any more."""

    letter: DeadLetter
    message: Message | None

    @property
    def stream(self) -> str:
        return self.message.key.stream if self.message else ""

    @property
    def what(self) -> str:
        if isinstance(self.message, ChunkExtracted):
            return f"chunk {self.message.chunk} g{self.message.generation}"
        if isinstance(self.message, SlicePlanned):
            return f"slice {self.message.slice} of run {self.message.run_id}"
        return f"load of {self.stream}" if self.message else self.letter.body[:60]


@app.command(
    "list", context_settings=options.SETTINGS, epilog=options.examples("penstock dlq list")
)
def list_dead(
    which: Which = "",
    file: options.File = options.FILE,
    env: options.Env = None,
    json: options.Json = False,
) -> None:
    """Dead messages, the oldest first, with the first line of why."""
    with opened(file, env) as workspace:
        found = _find(workspace, which)
    if json:
        document({"dead": [_as_document(dead) for dead in found]})
    elif not found:
        say("no dead messages")
    else:
        table(
            ("id", "died (UTC)", "queue", "what", "why"),
            (
                (
                    dead.letter.id[:8],
                    f"{dead.letter.dead_at:%Y-%m-%d %H:%M}",
                    dead.letter.queue,
                    dead.what,
                    dead.letter.reason.strip().partition("\n")[0][:100],
                )
                for dead in found
            ),
        )


@app.command(
    "show", context_settings=options.SETTINGS, epilog=options.examples("penstock dlq show orders")
)
def show(
    which: Which = "",
    file: options.File = options.FILE,
    env: options.Env = None,
    json: options.Json = False,
) -> None:
    """Dead messages in full: where, why, and what to do."""
    with opened(file, env) as workspace:
        found = _find(workspace, which)
    if json:
        document({"dead": [_as_document(dead) for dead in found]})
        return
    if not found:
        say("no dead messages")
    for dead in found:
        letter = dead.letter
        say(f"{letter.id[:8]}  {dead.what}", "yellow")
        say(
            f"  queue {letter.queue}, received {letter.received} times, "
            f"died {letter.dead_at:%Y-%m-%d %H:%M} UTC"
        )
        for line in letter.reason.strip().splitlines():
            say(f"  {line}")
    if found:
        say(f"  after a correction:  penstock dlq redrive {found[0].stream}", "dim")


@app.command(
    "redrive",
    context_settings=options.SETTINGS,
    epilog=options.examples("penstock dlq redrive orders", "penstock dlq redrive 3f2a9c01"),
)
def redrive(
    which: Which = "",
    file: options.File = options.FILE,
    env: options.Env = None,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """Bring dead messages back, under today's file: the first alone, then the others.

    When the first dies again, the others stay where they are.
    """
    with opened(file, env, writes=True, yes=yes) as workspace:
        found = _find(workspace, which)
        meet(workspace)
        done, died = _redrive(workspace, found) if found else (0, "")
    if json:
        document({"redriven": done, "left": len(found) - done, "died_again": died})
    elif not found:
        say("no dead messages")
    else:
        say(f"{number(done)} of {number(len(found))} dead messages came back")
        if died:
            say(f"  stopped, one died again: {died.strip().partition(chr(10))[0]}", "red")
    raise typer.Exit(1 if died else 0)


@app.command(
    "discard",
    context_settings=options.SETTINGS,
    epilog=options.examples('penstock dlq discard 3f2a9c01 --why "a test table, dropped"'),
)
def discard(
    which: Annotated[
        str, typer.Argument(metavar="STREAM|ID", help="Of a stream, or the one whose id starts so.")
    ],
    why: options.Why,
    file: options.File = options.FILE,
    env: options.Env = None,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """Dead messages are gone, on the record; what they were about stays in raw."""
    with opened(file, env, writes=True, yes=yes) as workspace:
        found = _find(workspace, which)
        for dead in found:
            workspace.log.emit(
                "dead_letter_discarded",
                stream=dead.stream,
                who=who(),
                why=why,
                what=dead.what,
                body=dead.letter.body,
            )
        count = workspace.queue.discard([dead.letter.id for dead in found])
    if json:
        document({"discarded": count})
    else:
        say(f"{number(count)} dead messages discarded, on the record")


def _find(workspace: Workspace, which: str) -> list[Dead]:
    found = []
    for letter in workspace.queue.dead():
        try:
            message: Message | None = codec.unpack(letter.body)
        except Rejected:
            message = None
        dead = Dead(letter, message)
        if not which or dead.stream == which or letter.id.startswith(which):
            found.append(dead)
    if which and not found and workspace.queue.dead():
        raise SpecError(f"no dead message of {which}", fix="penstock dlq list")
    return found


def _redrive(workspace: Workspace, found: Sequence[Dead]) -> tuple[int, str]:
    """How many came back, and why one died again, if one did."""
    pipeline = known_pipeline(workspace)
    digest = workspace.keep(pipeline)
    readable = [dead for dead in found if dead.message is not None]
    done = 0
    batches = [
        readable[:1],
        *(readable[at : at + AT_ONCE] for at in range(1, len(readable), AT_ONCE)),
    ]
    for batch in batches:
        before = {letter.id for letter in workspace.queue.dead()}
        messages = [message for dead in batch for message in _revived(workspace, dead, digest)]
        names = sorted({dead.stream for dead in batch})
        runs = [
            work_on(workspace, stream, [])
            for stream in (chosen(pipeline.streams, names, None) if names else ())
        ]
        progress = Progress(time.monotonic)
        with watched(progress) as tell:
            settle_all(workspace, digest, runs, messages, tell)
        done += len(batch)
        again = [item for item in workspace.queue.dead() if item.id not in before]
        revived = {dead.letter.id for dead in batch}
        again += [item for item in workspace.queue.dead() if item.id in revived]
        if again:
            return done - min(len(again), len(batch)), again[0].reason
    return done, ""


def _revived(workspace: Workspace, dead: Dead, digest: str) -> list[Message]:
    """What takes the dead message's place: a chunk is made in its next generation."""
    message = dead.message
    if not isinstance(message, ChunkExtracted):
        workspace.queue.redrive([dead.letter.id])
        return []
    plan = read_plan(workspace.journal, message.key, message.seq)
    made = list(regenerate(workspace.journal, plan, [message.chunk], digest)) if plan else []
    workspace.queue.discard([dead.letter.id])
    return list(made)


def _as_document(dead: Dead) -> dict[str, object]:
    letter = dead.letter
    return {
        "id": letter.id,
        "queue": letter.queue,
        "stream": dead.stream,
        "what": dead.what,
        "reason": letter.reason,
        "received": letter.received,
        "sent_at": letter.sent_at,
        "dead_at": letter.dead_at,
    }
