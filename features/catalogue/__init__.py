"""The catalogue: one module per feature group, each with a ``GROUP``; a new file here is a new group."""

import importlib
import pkgutil

from features.spec import Group
from infra.company import Company
from infra.errors import Rejected


def _load() -> tuple[Group, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").GROUP for name in names)


CATALOGUE: tuple[Group, ...] = _load()


def groups_of(company: Company) -> tuple[Group, ...]:
    """Return the groups whose fact some source of the company delivers."""
    facts = {source.fact for source in company.sources}
    return tuple(group for group in CATALOGUE if group.fact in facts)


def group_named(name: str) -> Group:
    """Return a group by its name or by the name of its current view.

    Raises
    ------
    Rejected
        There is no such group.
    """
    for group in CATALOGUE:
        if name in {group.name, group.view}:
            return group
    raise Rejected("feature group", f"one of {', '.join(group.name for group in CATALOGUE)}", repr(name))
