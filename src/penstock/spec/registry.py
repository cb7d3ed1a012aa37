"""The one table from a type in the pipeline file to the class that does it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal

from penstock.errors import SpecError
from penstock.spec.hints import near

Kind = Literal["source", "warehouse"]

SOURCES: Mapping[str, str] = {
    "files": "penstock.sources.files:FilesSource",
    "postgres": "penstock.sources.postgres:PostgresSource",
}
WAREHOUSES: Mapping[str, str] = {
    "duckdb": "penstock.warehouses.duckdb:DuckDBWarehouse",
    "postgres": "penstock.warehouses.postgres:PostgresWarehouse",
}
RESERVED: Mapping[Kind, frozenset[str]] = {
    "source": frozenset(
        {
            "mysql",
            "mariadb",
            "sql",
            "rest",
            "singer",
            "stripe",
            "github",
            "gitlab",
            "hubspot",
            "salesforce",
            "shopify",
            "slack",
            "zendesk",
            "jira",
            "notion",
            "google_analytics",
        }
    ),
    "warehouse": frozenset({"redshift"}),
}


def types(kind: Kind) -> tuple[str, ...]:
    """Every type that can be named in a pipeline file here, plug-ins included."""
    return tuple(sorted({*_built_in(kind), *(point.name for point in _plug_ins(kind))}))


def load_class(kind: Kind, type_: str) -> Any:
    """The class of a type; its module, and so its driver's, is imported only now.

    Raises: SpecError if the type is not known.
    """
    built_in = _built_in(kind).get(type_)
    if built_in is not None:
        module, _, name = built_in.partition(":")
        return getattr(import_module(module), name)
    for point in _plug_ins(kind):
        if point.name == type_:
            return point.load()
    raise SpecError(f'the {kind} type "{type_}" is not known', why=near(type_, types(kind)))


def option_names(kind: Kind, type_: str) -> frozenset[str] | None:
    """The options a plug-in takes; None if it does not say, and takes any."""
    names = getattr(load_class(kind, type_), "option_names", None)
    return None if names is None else frozenset(names)


def _built_in(kind: Kind) -> Mapping[str, str]:
    return SOURCES if kind == "source" else WAREHOUSES


def _plug_ins(kind: Kind) -> Any:
    return entry_points(group=f"penstock.{kind}s")
