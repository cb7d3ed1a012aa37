"""`penstock demo`: real data from real sources, into a warehouse that answers a question."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli import options
from penstock.cli.show import number, say

app = options.single()


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock demo",
        "penstock demo --change 1000       (a thousand planes change, and only they move)",
        "penstock demo --keep              (leave its Postgres running, to play with)",
        "penstock demo --stop",
    ),
)
def command(
    folder: Annotated[Path, typer.Argument(help="Where the demo lives.")] = Path("penstock-demo"),
    change: Annotated[
        int, typer.Option("--change", min=0, max=3322, help="Planes to change before the run.")
    ] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the demo's Postgres up.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Only stop the demo's Postgres.")] = False,
) -> None:
    """Move every flight out of New York in 2013, and ask which carriers lose most time, where,
    and in which weather.

    The flights lie in a folder of uploads, planes, airlines, airports and weather in a Postgres
    of the demo's own. Run it again: nothing moves, since nothing is new.
    """
    from penstock.demo.data import change_planes, fill_tables, write_secret, write_uploads
    from penstock.testing.postgres import EmbeddedPostgres

    server = EmbeddedPostgres(folder.absolute() / "rds")
    if stop:
        server.stop()
        say("the demo's Postgres is down")
        return
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    _write_file(folder, "pipeline.yaml")
    _write_file(folder, "question.sql")
    say(f"flights -> {folder}/uploads, reference tables -> a Postgres of its own", "dim")
    write_uploads(folder / "uploads")
    server.start()
    try:
        fill_tables(server)
        write_secret(folder / ".env", server)
        if change:
            change_planes(server, change)
            say(f"{number(change)} planes have changed", "dim")
        exit_code = _move_and_ask(folder)
    finally:
        if not keep:
            server.stop()
    say(f"  took {time.monotonic() - started:.1f}s in all", "dim")
    say(f"  next:  cd {folder} && penstock quarantine list && penstock status")
    raise typer.Exit(exit_code)


def _write_file(folder: Path, name: str) -> None:
    """The demo's file stands there; one that somebody has edited stays."""
    path = folder / name
    if not path.exists():
        text = resources.files("penstock.demo").joinpath(name).read_text("utf-8")
        path.write_text(text, encoding="utf-8")


def _move_and_ask(folder: Path) -> int:
    pipeline = ["-f", str(folder / "pipeline.yaml")]
    question = (folder / "question.sql").read_text("utf-8")
    say("\n$ penstock run", "bold")
    ran = _verb("run", pipeline)
    say("\n$ penstock query - < question.sql", "bold")
    say("  Which carriers lose most time, at which airport, in which weather?", "dim")
    asked = _verb("query", [question, *pipeline])
    say("\n$ penstock audit", "bold")
    audited = _verb("audit", pipeline)
    return ran or asked or audited


def _verb(name: str, words: Sequence[str]) -> int:
    from penstock.cli.root import dispatch

    return dispatch([name, *words])
