"""The schema contract: what a stream's rows look like, version by version.

Types widen along one lattice; text is its top, and there is never a column of mixed types:

    smallint < integer < bigint < decimal(p,s) < double;  real < double;  date < timestamp

Two types without a number or a date in common become text; so do timestamp and timestamptz, and
decimals that together need more than 38 digits.
"""

from __future__ import annotations

from penstock.errors import Rejected
from penstock.model import Contract, Field
from penstock.pipeline import SchemaContract
from penstock.transform.types import Logical, digits_of, parse_type

_INTEGERS = ("smallint", "integer", "bigint")
_EXACT_IN_DOUBLE = 15
"""Decimal digits that a double keeps, whatever they are."""


def evolve(
    policy: SchemaContract,
    contract: Contract | None,
    observed: tuple[Field, ...],
    where: str = "",
    asked: frozenset[str] = frozenset(),
) -> Contract:
    """The contract that holds the observed columns as the policy allows.

    Shape: the same version if nothing changed, else one version more; columns keep their order,
    new ones come last. `asked` names the columns that the pipeline file itself declares or makes:
    the policy is for what the source does by itself.
    Raises: Rejected if a change is frozen.
    """
    if contract is None:
        return Contract(1, observed)
    found = {field.name.casefold(): field for field in observed}
    columns = []
    for old in contract.columns:
        new = found.pop(old.name.casefold(), None)
        kind = old.type
        if new is not None and new.name in asked:
            kind = join(old.type, new.type)
        elif new is not None:
            kind = _changed(policy, contract, old, new, where)
        columns.append(Field(old.name, kind))
    for new in found.values():
        if new.name in asked:
            columns.append(Field(new.name, new.type))
            continue
        if policy.new_columns == "freeze":
            raise Rejected(
                f"chunk rejected: column {new.name!r} is new, not in contract v{contract.version}",
                where=where,
                why="schema_contract.new_columns is freeze",
                fix=f"exclude: [{new.name}], or new_columns: evolve; then: penstock dlq redrive",
            )
        if policy.new_columns == "evolve":
            columns.append(Field(new.name, new.type))
    if [(c.name, c.type) for c in columns] == [(c.name, c.type) for c in contract.columns]:
        return contract
    return Contract(contract.version + 1, tuple(columns))


def _changed(policy: SchemaContract, contract: Contract, old: Field, new: Field, where: str) -> str:
    joined = join(old.type, new.type)
    if joined == old.type or policy.changed_types == "discard":
        return old.type
    if policy.changed_types == "freeze":
        raise Rejected(
            f"chunk rejected: column {old.name!r} is {new.type} here, "
            f"{old.type} in contract v{contract.version}",
            where=where,
            why="schema_contract.changed_types is freeze",
            fix=f"columns: give {old.name} the type {joined!r}, then: penstock dlq redrive",
        )
    return joined


def join(left: str, right: str) -> str:
    """The narrowest type of the lattice that holds both."""
    if left == right:
        return left
    first, second = parse_type(left), parse_type(right)
    if first.name == second.name == "varchar":
        return str(
            Logical("varchar", max(first.size, second.size) if first.size and second.size else 0)
        )
    if {first.name, second.name} == {"date", "timestamp"}:
        return "timestamp"
    if not (_is_number(first) and _is_number(second)):
        return "varchar"
    if "double" in (first.name, second.name) or "real" in (first.name, second.name):
        return "double"
    if first.name != "decimal" and second.name != "decimal":
        return max(first.name, second.name, key=_INTEGERS.index)
    (whole, scale), (other_whole, other_scale) = _digits(first), _digits(second)
    size = max(whole, other_whole) + max(scale, other_scale)
    return str(Logical("decimal", size, max(scale, other_scale))) if size <= 38 else "varchar"


def exact_widening(old: str, new: str) -> bool:
    """Whether every value of the old type is the same value, and the same text, in the new one.

    Shape: numbers and dates that become text are not: earlier rows have to be made again.
    """
    if old == new:
        return True
    first, second = parse_type(old), parse_type(new)
    if second.name == "varchar":
        wide = not second.size or (0 < first.size <= second.size)
        return first.name == "json" or (first.name == "varchar" and wide)
    if (first.name, second.name) in (("date", "timestamp"), ("real", "double")):
        return True
    if not _is_number(first) or first.name in ("real", "double"):
        return False
    if second.name == "double":
        return sum(_digits(first)) <= _EXACT_IN_DOUBLE
    if second.name == "decimal":
        (whole, scale), (new_whole, new_scale) = _digits(first), _digits(second)
        return new_whole >= whole and new_scale >= scale
    names = _INTEGERS
    return (
        first.name in names
        and second.name in names
        and names.index(first.name) <= names.index(second.name)
    )


def _is_number(kind: Logical) -> bool:
    return kind.name in (*_INTEGERS, "decimal", "real", "double")


def _digits(kind: Logical) -> tuple[int, int]:
    digits = digits_of(kind.duckdb)
    assert digits is not None
    return digits
