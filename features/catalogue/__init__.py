"""The catalogue: one module per feature group, each with a ``GROUP``; a new file here is a new group.

A module with a ``REQUEST`` declares features of the request itself.
"""

import importlib
import pkgutil

from features.declare.clashes import refuse_clashes
from features.declare.group import Group
from features.declare.request import Request
from infra.company.company import Company
from rapport_feast.errors import Rejected


def _load() -> tuple[tuple[Group, ...], tuple[Request, ...]]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    groups = tuple(module.GROUP for module in modules if hasattr(module, "GROUP"))
    requests = tuple(module.REQUEST for module in modules if hasattr(module, "REQUEST"))
    for module in modules:
        if not {"GROUP", "REQUEST"} & vars(module).keys():
            raise Rejected(f"{module.__name__.replace('.', '/')}.py", "a GROUP or a REQUEST", "neither")
    refuse_clashes(groups, requests)
    return groups, requests


CATALOGUE, REQUESTS = _load()
DECLARED: tuple[Group | Request, ...] = (*CATALOGUE, *REQUESTS)


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


def request_named(name: str) -> Request:
    """Return a request by its name or by the name of its current view.

    Raises
    ------
    Rejected
        There is no such request.
    """
    for request in REQUESTS:
        if name in {request.name, request.view}:
            return request
    raise Rejected("request", f"one of {', '.join(request.name for request in REQUESTS)}", repr(name))
