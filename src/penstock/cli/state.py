"""`penstock state`: cursors and runs by hand, with a record of who and why."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from penstock.cli import options
from penstock.cli.facts import fresh_at
from penstock.cli.opened import chosen, one_stream, opened, streams_with_state, who
from penstock.cli.show import age, document, say, table
from penstock.errors import SpecError
from penstock.pipeline import Stream
from penstock.runtimes.workspace import Workspace
from penstock.stages.hands import set_cursor, start_over
from penstock.stages.state import read_contract, read_head

app = options.family("Show, set, reset or adopt cursors by hand, on the record.")
StreamName = Annotated[str, typer.Argument(metavar="STREAM", help="The stream.")]
_FAMILIES = ("head", "plan", "waiting", "trigger", "claim", "unsettled", "generation", "rejected",
             "discarded", "held", "contract", "closing")  # fmt: skip


@app.command(
    "show", context_settings=options.SETTINGS, epilog=options.examples("penstock state show")
)
def show(
    file: options.File = options.FILE,
    env: options.Env = None,
    select: options.Select = None,
    exclude: options.Exclude = None,
    json: options.Json = False,
) -> None:
    """The head of each stream: how many runs, the cursor, whether a run is open."""
    with opened(file, env) as workspace:
        identity = workspace.warehouse_id()
        streams = chosen(streams_with_state(workspace), select, exclude)
        states = [_state(workspace, stream) for stream in streams]
    if json:
        document({"warehouse_id": identity, "streams": states})
        return
    say(f"warehouse {identity or 'not met yet'}")
    table(
        ("stream", ">runs", "open", "cursor", "fresh", "contract", "write"),
        (
            (
                one["stream"], one["seq"], "yes" if one["open"] else "", _text(one["cursor"]),
                age(one["fresh_s"]) if one["fresh_s"] is not None else "",
                f"v{one['contract_version']}" if one["contract_version"] else "", one["write"],
            )
            for one in states
        ),
    )  # fmt: skip


@app.command(
    "set",
    context_settings=options.SETTINGS,
    epilog=options.examples('penstock state set orders 2026-11-01 --why "reload November"'),
)
def set_(
    stream: StreamName,
    cursor: Annotated[str, typer.Argument(metavar="CURSOR", help="As `state show` prints it.")],
    why: options.Why,
    file: options.File = options.FILE,
    env: options.Env = None,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """The next run of the stream starts after this cursor."""
    with opened(file, env, writes=True, yes=yes) as workspace:
        found = one_stream(workspace, stream)
        if found.cursor is None:
            raise SpecError(
                f"{stream} has no cursor", where=f"streams.{stream}", fix="penstock state reset"
            )
        key = workspace.key(found.name)
        before, _ = read_head(workspace.journal, key)
        value = cursor_of(cursor, before.cursor)
        set_cursor(
            workspace.journal, workspace.store, workspace.clock, key, value, who=who(), why=why
        )
    _said(json, stream, f"the next run of {stream} starts after {cursor}", before.cursor)


@app.command(
    "reset",
    context_settings=options.SETTINGS,
    epilog=options.examples('penstock state reset orders --why "the source was restored"'),
)
def reset(
    stream: StreamName,
    why: options.Why,
    file: options.File = options.FILE,
    env: options.Env = None,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """The open run, if there is one, is given up, and the next run is a full refresh."""
    with opened(file, env, writes=True, yes=yes) as workspace:
        key = workspace.key(one_stream(workspace, stream).name)
        before, _ = read_head(workspace.journal, key)
        start_over(workspace.journal, workspace.store, workspace.clock, key, who=who(), why=why)
    _said(json, stream, f"the next run of {stream} reads everything again", before.cursor)


@app.command(
    "adopt",
    context_settings=options.SETTINGS,
    epilog=options.examples('penstock state adopt --why "restored from a backup of today"'),
)
def adopt(
    why: options.Why,
    file: options.File = options.FILE,
    env: options.Env = None,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """The tables that are there are right: the cursors are kept for this warehouse."""
    with opened(file, env, writes=True, yes=yes) as workspace:
        known = workspace.warehouse_id()
        if known is None:
            raise SpecError("there is no state to keep: no run yet", fix="penstock run")
        warehouse = workspace.open_warehouse()
        warehouse.open()
        try:
            actual = warehouse.identity()
            if actual is None:
                warehouse.set_up(known)
        finally:
            warehouse.close()
        if actual is not None and actual != known:
            move_state(workspace, known, actual)
        now = actual or known
        workspace.log.emit("warehouse_adopted", before=known, now=now, who=who(), why=why)
    if json:
        document({"warehouse_id": now, "before": known})
    else:
        say(f"the state belongs to warehouse {now}")


def move_state(workspace: Workspace, known: str, actual: str) -> None:
    """All that the journal has for warehouse `known` stands under `actual`, which is known now.

    Why: heads go last and the warehouse's id after them, so that whoever is stopped in between
    starts again from what is still complete.
    """
    place = f"{workspace.pipeline.name}/{workspace.pipeline.environment}/"
    for family in (*_FAMILIES[1:], "head"):
        for entry in workspace.journal.scan(f"{family}/{place}{known}/"):
            name = f"{family}/{place}{actual}/" + entry.key.removeprefix(
                f"{family}/{place}{known}/"
            )
            there = workspace.journal.read(name)
            value = _moved(entry.value, known, actual)
            workspace.journal.swap(name, value, there.version if there else None)
    workspace.know_warehouse(actual)


def _moved(value: Any, known: str, actual: str) -> Any:
    """The value, with every stream key in it naming the other warehouse."""
    if isinstance(value, Mapping):
        return {
            name: actual
            if name == "warehouse_id" and item == known
            else _moved(item, known, actual)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_moved(item, known, actual) for item in value]
    return value


def cursor_of(text: str, before: object) -> Any:
    """The cursor in the source's JSON: as the one before it is, else a number where it is one."""
    if isinstance(before, str):
        return text
    try:
        value = json_text.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (int, float, dict)) else text


def _state(workspace: Workspace, stream: Stream) -> dict[str, Any]:
    key = workspace.key(stream.name)
    head, _ = read_head(workspace.journal, key)
    contract = read_contract(workspace.journal, key)
    newest = fresh_at(workspace, key)
    age_s = (workspace.clock.now() - newest).total_seconds() if newest else None
    return {
        "stream": stream.name,
        "seq": head.seq,
        "open": head.open,
        "cursor": head.cursor,
        "fresh_s": age_s,
        "contract_version": contract.version if contract else None,
        "write": stream.load.write,
    }


def _text(cursor: object) -> str:
    return "" if cursor is None else cursor if isinstance(cursor, str) else json_text.dumps(cursor)


def _said(json: bool, stream: str, text: str, before: object) -> None:
    if json:
        document({"stream": stream, "said": text, "cursor_before": before})
    else:
        say(f"{text} (it was at {_text(before) or 'the start'})")
