"""Leakage: columns of hindsight, which say how it ended, are no inputs of a model."""

from collections.abc import Iterable, Sequence

from features.declare.group import Group
from rapport_feast.errors import Rejected
from training.data.label import Label
from validation.contracts.standard import CONTRACTS
from validation.sources.servicenow import HINDSIGHT

HINDSIGHT_NAMES = HINDSIGHT.keys() | frozenset().union(*(contract.hindsight for contract in CONTRACTS.values()))


def refuse_leakage(label: Label, refs: Iterable[str], catalogue: Sequence[Group]) -> None:
    """Refuse features that are known only with the label.

    Raises
    ------
    Rejected
        A feature is called like the label, or its group reads a column that its contract marks as hindsight.
    """
    groups = {group.view: group for group in catalogue}
    for ref in refs:
        view, _, name = ref.partition(":")
        group = groups.get(view)
        # What a view read that the catalogue no longer has, only its features' names tell.
        named = sorted(group.columns & group.contract.hindsight if group else HINDSIGHT_NAMES & set(name.split("__")))
        if named or name == label.name:
            raise Rejected(
                f"feature {name}",
                f"nothing that is known only with the label {label.name}",
                named[0] if named else name,
                "Take the column out of the feature group.",
            )
