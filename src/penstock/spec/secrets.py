"""References become values here, when a source, warehouse, store or mask opens; never earlier.

`${env:X}` is the environment variable X. With `secrets: {from: env}`, `${secret:shop/db}` is the
variable SHOP_DB: upper case, everything but letters and digits as `_`. Both are looked up in the
environment first, then in a `.env` file beside the pipeline file. With `secrets: {from: file}` the
secret is the file `shop/db` (or `shop/db.json`) of the folder `.secrets`, or the entry "shop/db" of
the JSON file that `secrets: {path: …}` names. `#field` takes one field of a JSON secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from penstock.errors import Problem, SpecError
from penstock.pipeline import Pipeline
from penstock.spec.hints import near
from penstock.spec.references import Reference, references, unescaped

SECRETS_FOLDER = ".secrets"
_RDS_FIELDS = {
    "host": "host",
    "port": "port",
    "dbname": "database",
    "database": "database",
    "username": "user",
    "user": "user",
    "password": "password",
    "sslmode": "sslmode",
}


def read_reference(
    text: str, pipeline: Pipeline, environ: Mapping[str, str], where: str = ""
) -> str:
    """The text with every `${env:}` and `${secret:}` replaced by its value.

    Raises: SpecError if one is missing; it prints the `export` line that would help.
    """
    return "".join(value for _, value in _parts(text, pipeline, environ, where))


def open_options(
    options: Mapping[str, Any], pipeline: Pipeline, environ: Mapping[str, str], where: str = ""
) -> dict[str, Any]:
    """The options with every reference read, and `secret` opened into host, port, user, ….

    An option that stands in the file wins over the secret's field. In a `url`, values that stand
    in its user and password are percent-encoded.
    Raises: SpecError if a reference is missing, or the secret is no JSON object.
    """
    opened = {
        key: _open(key, value, pipeline, environ, f"{where}.{key}" if where else key)
        for key, value in options.items()
        if key != "secret"
    }
    secret = options.get("secret")
    if isinstance(secret, str):
        fields = _json_secret(secret, pipeline, environ, where)
        for name, option in _RDS_FIELDS.items():
            if name in fields and opened.get(option) is None:
                opened[option] = fields[name]
    return opened


def missing_references(pipeline: Pipeline, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """One problem for every reference of the pipeline that has no value here."""
    problems: dict[str, Problem] = {}
    for where, text in _all_texts(pipeline):
        for reference in references(text):
            try:
                _value(reference, pipeline, environ, where)
            except SpecError as error:
                problems.setdefault(str(reference), error.problems[0])
    named = [(f"sources.{source.name}", source.options) for source in pipeline.sources]
    for where, options in (*named, ("warehouse", pipeline.warehouse.options)):
        if "secret" in options:
            try:
                open_options({"secret": options["secret"]}, pipeline, environ, f"{where}.secret")
            except SpecError as error:
                problems.setdefault(error.what, error.problems[0])
    return tuple(problems.values())


def env_name(secret: str) -> str:
    """The environment variable that holds a secret: `shop/db` is SHOP_DB."""
    return re.sub(r"[^A-Z0-9]", "_", secret.upper())


def read_env_file(path: Path) -> dict[str, str]:
    """The NAME=value lines of a `.env` file; nothing if there is none.

    Shape: `export ` may stand before; quotes around a value are removed; # starts a comment.
    Raises: SpecError for a line that is none of these.
    """
    if not path.is_file():
        return {}
    values: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name.strip()):
            raise SpecError(
                "a line of .env is not NAME=value", where=f"{path.name}:{number}", fix="NAME=value"
            )
        value = value.strip()
        quoted = re.match(r"""(['"])(.*)\1\s*(?:#.*)?$""", value)
        values[name.strip()] = quoted[2] if quoted else re.sub(r"\s+#.*$", "", value)
    return values


def _parts(
    text: str, pipeline: Pipeline, environ: Mapping[str, str], where: str
) -> Iterator[tuple[Reference | None, str]]:
    end = 0
    for reference in references(text):
        yield None, unescaped(text[end : reference.start])
        yield reference, _value(reference, pipeline, environ, where)
        end = reference.end
    yield None, unescaped(text[end:])


def _open(key: str, value: Any, pipeline: Pipeline, environ: Mapping[str, str], where: str) -> Any:
    if isinstance(value, Mapping):
        return {k: _open(k, v, pipeline, environ, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_open("", item, pipeline, environ, where) for item in value]
    if not isinstance(value, str):
        return value
    parts = list(_parts(value, pipeline, environ, where))
    if key == "url" and parts[0][1]:
        ats = [i for i, (reference, t) in enumerate(parts) if reference is None and "@" in t]
        parts = [
            (reference, quote(t, safe="") if reference is not None and ats and i < ats[-1] else t)
            for i, (reference, t) in enumerate(parts)
        ]
    return "".join(t for _, t in parts)


def _value(reference: Reference, pipeline: Pipeline, environ: Mapping[str, str], where: str) -> str:
    if reference.kind == "env":
        said = f"{reference} is not set"
        return _from_environment(reference.name, said, pipeline, environ, where)
    text = _secret(reference.name, pipeline, environ, where)
    if reference.field is None:
        return text
    fields = _json_object(text, reference.name, where)
    if reference.field not in fields:
        raise SpecError(
            f'the secret "{reference.name}" has no field "{reference.field}"',
            where=where,
            why=near(reference.field, fields),
        )
    field = fields[reference.field]
    return field if isinstance(field, str) else json.dumps(field)


def _secret(name: str, pipeline: Pipeline, environ: Mapping[str, str], where: str) -> str:
    if pipeline.secrets_from == "env":
        said = f'the secret "{name}" is not set'
        return _from_environment(env_name(name), said, pipeline, environ, where)
    if ".." in name.split("/") or name.startswith("/"):
        raise SpecError(f'"{name}" is no name of a secret', where=where)
    place = Path(pipeline.directory) / (pipeline.secrets_path or SECRETS_FOLDER)
    if place.is_file():
        fields = _json_object(place.read_text("utf-8"), str(place.name), where)
        if name in fields:
            value = fields[name]
            return value if isinstance(value, str) else json.dumps(value)
        why = near(name, fields)
        raise SpecError(f'{place.name} has no secret "{name}"', where=where, why=why)
    for candidate in (place / name, place / f"{name}.json"):
        if candidate.is_file():
            return candidate.read_text("utf-8").rstrip("\r\n")
    raise SpecError(
        f'the secret "{name}" is not there',
        where=where,
        why=f"no file {place / name}",
        fix=f"mkdir -p {(place / name).parent} && cat > {place / name}",
    )


def _from_environment(
    name: str, said: str, pipeline: Pipeline, environ: Mapping[str, str], where: str
) -> str:
    if name in environ:
        return environ[name]
    file = Path(pipeline.directory) / ".env"
    values = read_env_file(file)
    if name in values:
        return values[name]
    beside = "" if not file.is_file() else f", nor does {file.name} beside the pipeline file"
    raise SpecError(
        said,
        where=where,
        why=f"the environment does not hold {name}{beside}",
        fix=f"export {name}='…'   (or the line {name}=… in .env beside the pipeline file)",
    )


def _json_secret(
    secret: str, pipeline: Pipeline, environ: Mapping[str, str], where: str
) -> dict[str, Any]:
    try:
        text = _secret(secret, pipeline, environ, where)
    except SpecError as error:
        if pipeline.secrets_from != "env":
            raise
        example = '{"host": "…", "port": 5432, "dbname": "…", "username": "…", "password": "…"}'
        raise SpecError(
            error.what,
            where=error.where,
            why=error.why,
            fix=f"export {env_name(secret)}='{example}'",
        ) from None
    return _json_object(text, secret, where)


def _json_object(text: str, name: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SpecError(
            f'the secret "{name}" is no JSON object',
            where=where,
            fix='{"host": "…", "username": "…", "password": "…"}',
        )
    return value


def _all_texts(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    groups: list[tuple[str, Mapping[str, Any]]] = [
        *((f"sources.{source.name}", source.options) for source in pipeline.sources),
        ("warehouse", pipeline.warehouse.options),
        ("storage", {"url": pipeline.storage.url, **pipeline.storage.options}),
    ]
    for where, options in groups:
        for key, value in options.items():
            if isinstance(value, str):
                yield f"{where}.{key}", value
    for stream in pipeline.streams:
        for column in stream.columns:
            if column.key is not None:
                yield f"streams.{stream.name}.columns.{column.name}.key", column.key
