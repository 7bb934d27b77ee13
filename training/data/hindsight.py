"""Leakage: columns of hindsight, which say how it ended, are no inputs of a model."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from features.declare.group import Group
from rapport_feast.errors import Rejected
from training.data.label import Label

HINDSIGHT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ticket_events": frozenset({"sla_met", "made_sla", "resolved_at", "resolved_by", "closed_at", "closed_code"}),
        "outcomes": frozenset({"value"}),
    }
)
"""Columns that say how it ended: meaningful on or after the last event only, so never inputs."""


def refuse_leakage(label: Label, refs: Iterable[str], catalogue: Sequence[Group]) -> None:
    """Refuse features that are known only with the label.

    Raises
    ------
    Rejected
        A reference names a hindsight column or the label, or its group reads a hindsight column.
    """
    groups = {group.view: group for group in catalogue}
    banned = frozenset().union(*HINDSIGHT.values())
    for ref in refs:
        view, _, name = ref.partition(":")
        group = groups.get(view)
        read = group.columns & HINDSIGHT.get(group.fact, frozenset()) if group else frozenset()
        named = sorted(read | {word for word in banned if word in name.split("__")})
        if named or name == label.name:
            raise Rejected(
                f"feature {name}",
                f"nothing that is known only with the label {label.name}",
                named[0] if named else name,
                "Take the column out of the feature group.",
            )
