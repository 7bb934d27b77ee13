"""The language in which features are declared: data, no code, nothing heavy.

Whoever declares features imports from here; what works on declarations imports the module that it needs.
"""

from features.declare.entity import CUSTOMER, QUEUE, TICKET, Entity
from features.declare.feature import Derived, ratio
from features.declare.group import Group
from features.declare.measure import Expect, Measure
from features.declare.request import Request
from features.declare.terms import Term, coalesce, col, when

__all__ = [
    "CUSTOMER",
    "QUEUE",
    "TICKET",
    "Derived",
    "Entity",
    "Expect",
    "Group",
    "Measure",
    "Request",
    "Term",
    "coalesce",
    "col",
    "ratio",
    "when",
]
