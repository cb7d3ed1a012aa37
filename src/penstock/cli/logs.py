"""`penstock logs`: the events of runs, newest last."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Event as Pause
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.events import Event, newest_first, parse
from penstock.cli.opened import opened, state_folder
from penstock.cli.show import document, say

app = options.single()
LOOK_S = 0.5


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock logs",
        "penstock logs --stream orders --run 20261123T0600",
        "penstock logs --follow",
    ),
)
def command(
    file: options.File = options.FILE,
    env: options.Env = None,
    stream: Annotated[str, typer.Option("--stream", help="Only this stream.")] = "",
    run: Annotated[str, typer.Option("--run", help="Only the run whose id starts so.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Events at most.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Show the event log, newest events last. With --follow --json: one JSON line per event."""
    with opened(file, env) as workspace:
        folder = state_folder(workspace) / "logs"
    events = (event for event in newest_first(folder) if _is_asked(event, stream, run))
    last = list(islice(events, limit))[::-1]
    if json and not follow:
        document(last)
        return
    for event in last:
        _print(event, json=json)
    if follow:
        for event in _follow(folder):
            if _is_asked(event, stream, run):
                _print(event, json=json)


def _is_asked(event: Event, stream: str, run: str) -> bool:
    return (not stream or event.get("stream") == stream) and str(
        event.get("run_id", event.get("chunk", ""))
    ).removeprefix(f"{stream}/").startswith(run)


def _print(event: Event, *, json: bool) -> None:
    if json:
        import json as json_text

        sys.stdout.write(json_text.dumps(event) + "\n")
        sys.stdout.flush()
        return
    fields = {k: v for k, v in event.items() if k not in ("at", "event") and v != ""}
    shown = "  ".join(f"{name}={_shown(value)}" for name, value in fields.items())
    say(f"{str(event.get('at', ''))[:19]}  {event['event']}  {shown}")


def _shown(value: object) -> str:
    return str(value).partition("\n")[0]


def _follow(folder: Path) -> Iterator[Event]:
    """Events from now on, of this day's file and those to come."""
    places = {path: path.stat().st_size for path in folder.glob("*.jsonl")}
    while True:
        for path in sorted(folder.glob("*.jsonl")):
            with path.open("rb") as log:
                log.seek(places.get(path, 0))
                for line in log:
                    if not line.endswith(b"\n"):
                        break
                    places[path] = places.get(path, 0) + len(line)
                    event = parse(line.decode("utf-8", "replace"))
                    if event is not None:
                        yield event
        Pause().wait(LOOK_S)
