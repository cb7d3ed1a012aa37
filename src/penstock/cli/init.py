"""`penstock init`: a pipeline file that runs stands here."""

from __future__ import annotations

import json as json_text
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit

import typer

from penstock.cli import options
from penstock.cli.proposals import flow, stream_lines
from penstock.cli.show import document, say
from penstock.errors import SpecError
from penstock.pipeline import SourceConfig
from penstock.ports import Dataset, Source
from penstock.spec.registry import load_class
from penstock.spec.schema import json_schema
from penstock.spec.secrets import env_name

app = options.single()
IGNORED = (".env", "data/", "*.duckdb", "*.duckdb.wal", ".penstock/*", "!.penstock/*.schema.json")
_SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Origin:
    """A source as it will stand in the file; `secrets` go into `.env` instead.

    Shape: `options` are for the file, `opened` the same with secrets in their place.
    """

    name: str
    type: str
    options: dict[str, Any]
    opened: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict)


@app.command(
    context_settings=options.SETTINGS,
    epilog=options.examples(
        "penstock init",
        "penstock init --from postgresql://reader:secret@db.example:5432/shop",
        "penstock init --from ./uploads shop",
        "penstock init --from s3://acme-uploads/stores/",
    ),
)
def command(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where; made if missing.")
    ] = Path(),
    origin: Annotated[
        str, typer.Option("--from", metavar="URL", help="A postgresql:// URL, a folder, or s3://.")
    ] = "",
    json: options.Json = False,
) -> None:
    """Write a pipeline file that runs: of what --from offers, or of a small sample.

    Nothing that is there is written over. A password goes into .env, which git ignores, and
    stands in the file as a reference.
    """
    file = folder / "pipeline.yaml"
    if file.exists():
        raise SpecError(
            f"{file} is there already", fix="another folder: penstock init shop; or edit this one"
        )
    found = _origin(origin, folder) if origin else None
    text = _from_source(found, folder) if found else _from_sample(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [file, *_side_files(folder, found)]
    file.write_text(text, encoding="utf-8")
    if json:
        document({"written": [str(path) for path in written]})
        return
    for path in written:
        say(f"  {path}")
    place = "" if folder == Path() else f"cd {folder} && "
    say(f"  next:  {place}penstock check && penstock run")


def _from_sample(folder: Path) -> str:
    sample = resources.files("penstock.cli").joinpath(_SAMPLE)
    target = folder / "uploads" / "orders_2026-11.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.write_text(sample.joinpath("orders.csv").read_text("utf-8"), encoding="utf-8")
    return sample.joinpath("pipeline.yaml").read_text("utf-8")


def _from_source(origin: Origin, folder: Path) -> str:
    config = SourceConfig(origin.name, origin.type, origin.opened)
    source: Source = load_class("source", origin.type).from_config(config, folder)
    try:
        datasets = source.discover()
    finally:
        source.close()
    if not datasets:
        raise SpecError(f"{origin.name} shows nothing to read", fix="penstock init writes a sample")
    return pipeline_text(re.sub(r"\W+", "_", folder.resolve().name), origin, datasets)


def pipeline_text(name: str, origin: Origin, datasets: Sequence[Dataset]) -> str:
    """A pipeline file with one stream per dataset."""
    source = {"type": origin.type, **origin.options}
    lines = [
        "# yaml-language-server: $schema=./.penstock/pipeline.schema.json",
        "version: 1",
        f"pipeline: {flow(name or 'pipeline')}",
        "",
        "secrets: {from: env}                # .env beside this file is read",
        f"warehouse: {flow({'type': 'duckdb', 'path': (name or 'pipeline') + '.duckdb'})}",
        "storage: {url: ./data}              # raw, staging, quarantine and journal lie here",
        "",
        "sources:",
        f"  {flow(origin.name)}: {flow(source)}",
        "",
        "defaults:",
        f"  load: {flow({'schema': f'raw_{origin.name}'})}",
        "",
        "streams:",
        *stream_lines(origin.name, datasets),
    ]
    return "\n".join(lines) + "\n"


def _origin(url: str, folder: Path) -> Origin:
    """The source behind a URL.

    Raises: SpecError for a kind of URL that no source reads.
    """
    kind = url.partition("://")[0] if "://" in url else ""
    if kind in ("postgresql", "postgres"):
        return postgres_origin(url)
    if kind == "s3":
        return Origin("uploads", "files", {"url": url}, {"url": url})
    if kind not in ("", "file"):
        raise SpecError(
            f"{kind}:// is not read in this version", fix="postgresql://, s3://, a folder"
        )
    path = Path(url.removeprefix("file://"))
    if not path.is_dir():
        raise SpecError(f"there is no folder {path}", fix="--from ./uploads")
    relative = os.path.relpath(path, folder)
    shown = relative if relative.startswith(".") else f"./{relative}"
    return Origin("uploads", "files", {"url": shown}, {"url": str(path.resolve())})


def postgres_origin(url: str) -> Origin:
    """The fields of a Postgres URL; its password is a secret, however it is spelled.

    Raises: SpecError if it names no database.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SpecError(
            "the URL cannot be read",
            why="a password with @, / or # must be written as %40, %2F or %23 in a URL",
        ) from None
    database = unquote(parts.path.lstrip("/"))
    if not database or not parts.hostname:
        raise SpecError(
            "the URL names no host or database",
            why="a password with @, / or # must be written as %40, %2F or %23 in a URL",
            fix="--from postgresql://user:password@host:5432/database",
        )
    name = re.sub(r"\W+", "_", database).strip("_").lower() or "db"
    found: dict[str, Any] = {"host": parts.hostname}
    found |= {"port": port} if port else {}
    found["database"] = database
    found |= {"user": unquote(parts.username)} if parts.username else {}
    mode = parse_qs(parts.query).get("sslmode")
    found |= {"sslmode": mode[0]} if mode else {}
    if parts.password is None:
        return Origin(name, "postgres", found, dict(found))
    secret, password = f"{name}/password", unquote(parts.password)
    return Origin(
        name,
        "postgres",
        {**found, "password": f"${{secret:{secret}}}"},
        {**found, "password": password},
        {env_name(secret): password},
    )


def _side_files(folder: Path, origin: Origin | None) -> list[Path]:
    """Schema for editors, `.gitignore` and `.env`; what is there stays, and is added to."""
    schema = folder / ".penstock" / "pipeline.schema.json"
    schema.parent.mkdir(parents=True, exist_ok=True)
    schema.write_text(json_text.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
    written = [schema]
    ignore = folder / ".gitignore"
    if _add_lines(ignore, IGNORED):
        written.append(ignore)
    if origin is not None and origin.secrets:
        env = folder / ".env"
        _add_lines(env, [f"{name}='{value}'" for name, value in origin.secrets.items()])
        with suppress(OSError):
            env.chmod(0o600)
        written.append(env)
    return written


def _add_lines(path: Path, lines: Sequence[str]) -> bool:
    """The lines stand in the file; whether any was missing."""
    before = path.read_text("utf-8") if path.exists() else ""
    missing = [line for line in lines if line not in before.splitlines()]
    if missing:
        gap = "" if not before or before.endswith("\n") else "\n"
        if not path.exists():
            path.touch(mode=0o600 if path.name == ".env" else 0o666)
        path.write_text(before + gap + "\n".join(missing) + "\n", encoding="utf-8")
    return bool(missing)
