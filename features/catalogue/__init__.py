"""The catalogue: one module per feature group, each with a ``GROUP``, or a ``REQUEST`` for features of the request.

A new file here is a new group; a company's own lie in its folder, and ``catalogue_of`` joins both.
"""

import importlib
import pkgutil
from functools import cache, lru_cache

from features.declare.catalogue import Catalogue
from features.declare.clashes import refuse_clashes
from features.declare.group import Group
from features.declare.request import Request
from features.declare.vocabulary import declaring
from infra.company.company import Company
from infra.company.folder import Declaration, Folder
from infra.company.python_file import declared
from rapport_feast.errors import Rejected
from validation.contracts.own import contracts_in


@cache
def standard() -> Catalogue:
    """Return the groups and requests that Rapport brings."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    for module in modules:
        if not {"GROUP", "REQUEST"} & vars(module).keys():
            raise Rejected(f"{module.__name__.replace('.', '/')}.py", "a GROUP or a REQUEST", "neither")
    groups = tuple(module.GROUP for module in modules if hasattr(module, "GROUP"))
    requests = tuple(module.REQUEST for module in modules if hasattr(module, "REQUEST"))
    refuse_clashes(groups, requests)
    return Catalogue(groups, requests)


def catalogue_of(company: Company) -> Catalogue:
    """Return the catalogue of a company: ours, with its own groups and requests behind.

    Raises
    ------
    Rejected
        A declaration is wrong, or a name stands twice.
    """
    return _in_folder(company.folder)


def groups_of(company: Company) -> tuple[Group, ...]:
    """Return the groups whose fact some source of the company delivers."""
    facts = {source.fact for source in company.sources}
    return tuple(group for group in catalogue_of(company).groups if group.fact in facts)


@lru_cache
def _in_folder(folder: Folder | None) -> Catalogue:
    if folder is None or not folder.of("catalogue"):
        return standard()
    with declaring(contracts_in(folder)):
        own = [_declared(one) for one in folder.of("catalogue")]
    groups = (*standard().groups, *(one for one in own if isinstance(one, Group)))
    requests = (*standard().requests, *(one for one in own if isinstance(one, Request)))
    refuse_clashes(groups, requests)
    return Catalogue(groups, requests)


def _declared(declaration: Declaration) -> Group | Request:
    found = declared(declaration, "GROUP", "REQUEST")
    if not isinstance(found, Group | Request):
        raise Rejected(declaration.shown, "a GROUP or a REQUEST", type(found).__name__)
    if found.name != declaration.name:
        raise Rejected(declaration.shown, f"a group called {declaration.name}, as the file", found.name)
    return found
