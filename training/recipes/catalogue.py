"""The recipes by name: Rapport's own, one module each, and where a company's are looked up."""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias, cast

from infra.company.company import Company
from infra.company.python_file import declared
from rapport_feast.errors import Rejected
from training.recipes.learner import Learner

OWN = ("churn", "escalation", "next_best_action")
Loader: TypeAlias = Callable[[], type[Learner]]


def recipes_of(company: Company) -> Mapping[str, Loader]:
    """Return name = what imports the recipe: learners are heavy, and only the one that trains is wanted.

    A recipe is a module with a ``RECIPE``, called as the recipe is; a company's lie in its folder ``recipes``.
    """
    ours: dict[str, Loader] = {name: partial(_imported, f"training.recipes.{name}") for name in OWN}
    own = company.folder.of("recipes") if company.folder else ()
    return ours | {one.name: partial(declared, one, "RECIPE") for one in own}


def recipe_named(company: Company, name: str) -> type[Learner]:
    """Return a recipe of a company.

    Raises
    ------
    Rejected
        There is no such recipe.
    """
    recipes = recipes_of(company)
    if name not in recipes:
        raise Rejected("recipe", f"one of {', '.join(recipes)}", repr(name))
    return recipes[name]()


def _imported(module: str) -> type[Learner]:
    return cast(type[Learner], importlib.import_module(module).RECIPE)
