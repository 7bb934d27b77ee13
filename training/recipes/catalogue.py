"""The recipes by name."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from rapport_feast.errors import Rejected
from training.recipes.learner import Model

RECIPES: Mapping[str, str] = MappingProxyType(
    {"churn": "Churn", "escalation": "Escalation", "next_best_action": "NextBestAction"}
)


def recipe(name: str) -> type[Model]:
    """Return the model class of a recipe, imported only now because its library is heavy.

    Raises
    ------
    Rejected
        There is no such recipe.
    """
    if name not in RECIPES:
        raise Rejected("recipe", f"one of {', '.join(RECIPES)}", repr(name))
    return cast(type[Model], getattr(importlib.import_module(f"training.recipes.{name}"), RECIPES[name]))
