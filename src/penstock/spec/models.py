"""The pipeline file, version 1, key by key: what is not here is unknown or not built yet."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from penstock.spec.fields import (
    AnyText,
    Duration,
    Flag,
    Model,
    Name,
    Port,
    Positive,
    SecretName,
    Text,
    problem,
)
from penstock.spec.stream_models import StepModel, StreamModel

COMMON = ("type", "concurrency", "naive_timestamps")
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class PostgresModel(Model):
    """How a Postgres database is reached: `secret`, or `url`, or fields."""

    type: Literal["postgres"]
    secret: SecretName | None = Field(None, description="name of a JSON secret: host, username, …")
    url: Text | None = Field(None, description="postgresql://host:5432/database")
    host: Text | None = None
    port: Port | None = None
    database: Text | None = None
    user: Text | None = None
    password: AnyText | None = Field(None, description="${secret:…}; any character, unescaped")
    sslmode: SslMode | None = None
    sslrootcert: Text | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        ways = [way for way in ("secret", "url", "host") if getattr(self, way) is not None]
        if not ways:
            raise problem("postgres needs secret, url or host", "secret: shop/db")
        if self.url is not None:
            fields = [f for f in ("host", "port", "database") if getattr(self, f) is not None]
            if fields:
                raise problem(f"url and {fields[0]} say the same thing", f"remove {fields[0]}")
            _plain_url(self.url)
        return self


class PostgresSourceModel(PostgresModel):
    """A Postgres database as a source."""

    concurrency: Positive | None = Field(None, description="slices read at a time, at most")
    naive_timestamps: Text | None = Field(None, description="zone of timestamps without one")
    statement_timeout: Duration | None = None


class S3Model(Model):
    """An object store: a folder, or a bucket and how it is reached."""

    url: Text | None = Field(None, description="./folder or s3://bucket/prefix")
    region: Text | None = None
    endpoint: Text | None = Field(None, description="of an S3-compatible store")
    access_key_id: AnyText | None = None
    secret_access_key: AnyText | None = None
    session_token: AnyText | None = None


class FilesSourceModel(S3Model):
    """Files in a folder or bucket as a source."""

    type: Literal["files"]
    concurrency: Positive | None = Field(None, description="slices read at a time, at most")
    naive_timestamps: Text | None = Field(None, description="zone of timestamps without one")

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.url is None:
            raise problem("files needs url", "url: ./uploads, or s3://bucket/prefix")
        return self


class OtherModel(Model):
    """A type that a plug-in brings; its options are the plug-in's."""

    model_config = ConfigDict(extra="allow")
    type: Text
    concurrency: Positive | None = None
    naive_timestamps: Text | None = None


class DuckDBModel(Model):
    """A DuckDB file as the warehouse."""

    type: Literal["duckdb"]
    path: Text | None = Field(None, description="shop.duckdb, beside the pipeline file")
    memory_mb: Positive | None = Field(None, description="what DuckDB holds, at most")
    threads: Positive | None = None


def _kind(value: Any) -> str:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return found if found in ("postgres", "files", "duckdb") else "other"


def _not(*types: str) -> WithJsonSchema:
    named = {"type": "string", "not": {"enum": list(types)}}
    return WithJsonSchema({"type": "object", "required": ["type"], "properties": {"type": named}})


SourceModel = Annotated[
    Annotated[PostgresSourceModel, Tag("postgres")]
    | Annotated[FilesSourceModel, Tag("files")]
    | Annotated[OtherModel, _not("postgres", "files"), Tag("other")],
    Discriminator(lambda value: _kind(value) if _kind(value) != "duckdb" else "other"),
]
WarehouseModel = Annotated[
    Annotated[DuckDBModel, Tag("duckdb")]
    | Annotated[PostgresModel, Tag("postgres")]
    | Annotated[OtherModel, _not("duckdb", "postgres"), Tag("other")],
    Discriminator(lambda value: _kind(value) if _kind(value) != "files" else "other"),
]


class KeepModel(Model):
    raw: Duration | None = None
    staging: Duration | None = None
    quarantine: Duration | None = None


class StorageModel(S3Model):
    """The root of raw/, staging/, quarantine/ and journal/."""

    keep: KeepModel | None = Field(None, description="how long; for ever where nothing is said")


class SecretsModel(Model):
    from_: Literal["env", "file"] = Field("env", alias="from")
    path: Text | None = Field(None, description="folder or JSON file, with from: file")


class EnvironmentModel(Model):
    default: Flag | None = None
    runs_on: Literal["embedded"] | None = None
    protected: Flag | None = Field(None, description="writing verbs ask first")
    limit_rows: Positive | None = Field(None, description="rows read per stream, at most")
    vars: dict[str, AnyText] | None = None
    secrets: SecretsModel | None = None
    warehouse: dict[str, Any] | None = None
    storage: StorageModel | None = None
    sources: dict[str, dict[str, Any]] | None = None
    streams: dict[str, StreamModel] | None = None


class ResolvedModel(Model):
    """The merged file in one environment, without its streams."""

    version: int
    pipeline: Name
    description: Text | None = None
    owner: Text | None = None
    vars: dict[str, AnyText] | None = None
    secrets: SecretsModel | None = None
    warehouse: WarehouseModel | None = None
    storage: StorageModel | None = None
    sources: dict[Name, SourceModel] = Field(min_length=1)


class FileModel(ResolvedModel):
    """The whole file as written."""

    version: Annotated[int, WithJsonSchema({"const": 1})]
    environments: dict[Name, EnvironmentModel] | None = None
    step_sets: dict[str, list[StepModel]] | None = None
    defaults: StreamModel | None = None
    streams: dict[Name, StreamModel] = Field(min_length=1)


def _plain_url(url: str) -> None:
    """A password with @, # or / in a URL is read as a host: it belongs into a field."""
    bare = re.sub(r"\$\{[^}]*\}", "x", url)
    scheme, found, rest = bare.partition("://")
    if url.startswith("${"):
        return
    if not found or scheme not in ("postgres", "postgresql"):
        raise problem("the url is none of Postgres", "url: postgresql://host:5432/database")
    login, at, _ = rest.rpartition("@")
    if at and "@" in rest.partition("?")[0] and re.search(r"[@/#]", login):
        raise problem(
            "the password in this url holds @, / or #",
            "write host, database, user and password as fields: they need no escaping",
        )
