"""Names that stand twice in a catalogue."""

from collections.abc import Iterable

from features.declare.checks import refuse_duplicates
from features.declare.group import Group
from features.declare.request import Request


def refuse_clashes(groups: Iterable[Group], requests: Iterable[Request] = ()) -> None:
    """Refuse a catalogue in which two groups have one name, or two features of an entity.

    Raises
    ------
    Rejected
        A name stands twice.
    """
    declared: list[Group | Request] = [*groups, *requests]
    refuse_duplicates("catalogue, groups", [one.name for one in declared])
    refuse_duplicates("catalogue, features", [feature.name for one in declared for feature in one.outputs])
