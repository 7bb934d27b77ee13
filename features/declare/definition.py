"""A group's definition as data, kept in the commits of its table, so that a later catalogue can say what changed.

Between ``group.py``, which declares, and ``plan.py``, which compares.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from features.declare.group import Group
from features.declare.version import SEMANTICS, as_data

Definition = Mapping[str, Any]
INFIX = frozenset({"==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "and", "or", "in"})


def definition(group: Group) -> dict[str, Any]:
    """Return everything of a group that changes values, as JSON-able values."""
    return {
        "semantics": SEMANTICS,
        "entity": group.entity.name,
        "fact": group.fact,
        "where": as_data(group.where),
        "hop": group.hop,
        "measures": {measure.name: as_data(measure) for measure in group.measures},
        "derived": {one.name: as_data(one) for one in group.derived},
    }


def differences(old: Definition, new: Definition) -> list[str]:
    """Return what differs between two definitions, a sentence each.

    Examples
    --------
    >>> differences({"hop": "1d", "where": None}, {"hop": "1h", "where": None})
    ['hop: 1d -> 1h']
    """
    plain_parts = [key for key in new if key not in {"measures", "derived"}]
    found = [
        f"{key}: {as_text(old.get(key))} -> {as_text(new[key])}" for key in plain_parts if old.get(key) != new[key]
    ]
    for kind, name in (("measures", "measure"), ("derived", "derived feature")):
        found += _changes(name, old.get(kind, {}), new.get(kind, {}))
    return found


def _changes(kind: str, old: Definition, new: Definition) -> Iterator[str]:
    yield from (f"{kind} {name}: new" for name in new if name not in old)
    yield from (f"{kind} {name}: gone" for name in old if name not in new)
    for name in (name for name in new if name in old):
        changed = [key for key in new[name] if old[name].get(key) != new[name][key]]
        yield from (
            f"{kind} {name}, {key}: {as_text(old[name].get(key))} -> {as_text(new[name][key])}" for key in changed
        )
    if list(old) != list(new) and sorted(old) == sorted(new):
        yield f"{kind}s: in another order"


def as_text(part: Any) -> str:
    """Return a part of a definition for a reader.

    Examples
    --------
    >>> as_text({"operator": ">", "operands": [{"name": "amount_minor"}, 0]})
    '(amount_minor > 0)'
    """
    if isinstance(part, Mapping):
        return _expression(part) if "operator" in part else str(part["name"])
    if isinstance(part, list):
        return ", ".join(map(str, part))
    return "none" if part in (None, "") else repr(part) if isinstance(part, bool) else str(part)


def _expression(part: Definition) -> str:
    operator, operands = part["operator"], [repr(o) if isinstance(o, str) else as_text(o) for o in part["operands"]]
    if operator in INFIX:
        first, *rest = operands
        return f"({first} {operator} {', '.join(rest)})"
    return f"{operator}({', '.join(operands)})"
