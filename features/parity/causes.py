"""Why a served value is not the value that was true as known then: one cause for each, the first that explains it.

=====================  ================================================================================================
cause                  rule
=====================  ================================================================================================
definition version     the row was written under another version of the definition than its view has
type                   the same value in another type: 3 for 3.0, or "3" for 3
expiry                 it was true when the row was written, not when it was served: equal to the value at the row's
                       own event time; of a nightly row, it is of an older night than was online
identity               the whole row is equal under other identity links: none, or those known now
time zone              the whole row is equal at a moment some quarters of an hour away, up to 14 hours
transform              nothing of the above: the value was computed in another way
=====================  ================================================================================================

One value proves no zone, since one of 112 moments may well give it: an offset has to explain two values of a view.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from features.compute.historical import Links
from features.declare.group import Group
from features.parity.recompute import ValueQuery, Values, recompute
from features.parity.samples import Sample
from infra.engine.engine import Engine
from infra.workspace import Workspace

CAUSES = ("definition version", "type", "expiry", "identity", "time zone", "transform")
QUARTER_US = 15 * 60 * 1_000_000
QUARTERS = 14 * 4
# Nearest first, so that of two offsets that explain the same the smaller one is named.
OFFSETS = tuple(sign * quarters for quarters in range(1, QUARTERS + 1) for sign in (1, -1))
OTHER_LINKS: Mapping[Links, str] = MappingProxyType({"none": "without links", "now": "by the links known now"})
# A year has at most two offsets, in summer and in winter.
ZONES, PROOF = 2, 2


@dataclass(frozen=True)
class MismatchedSample:
    """A sampled row some of whose values are wrong.

    Attributes
    ----------
    truth
        What was true as known then; nothing where there was no row.
    then
        Values of the row as it may have been before: of a live row they are computed here, of a nightly one they are
        those that its own night published.
    wrong
        The features whose value is another one.
    """

    sample: Sample
    truth: Values | None
    then: Values | None
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Attribution:
    """The cause of a wrong value, with a detail for the reader."""

    cause: str
    detail: str = ""


def same_value(one: Any, other: Any) -> bool:
    """Return whether two values are equal in value and type; of floats, every bit but the sign of zero.

    Examples
    --------
    >>> same_value(3, 3), same_value(3, 3.0), same_value(None, None), same_value(0.1 + 0.2, 0.3)
    (True, False, True, False)
    """
    return type(one) is type(other) and one == other


def attribute(
    ws: Workspace, engine: Engine, group: Group, mismatched: Sequence[MismatchedSample]
) -> list[dict[str, Attribution]]:
    """Return for each mismatched sample the cause of every wrong value."""
    causes = [_by_inspection(group, mismatch) for mismatch in mismatched]
    _by_expiry(ws, engine, group, _unexplained(mismatched, causes))
    for links in OTHER_LINKS:
        _by_identity(ws, engine, group, _unexplained(mismatched, causes), links)
    _by_zone(ws, engine, group, _unexplained(mismatched, causes))
    for mismatch, found in zip(mismatched, causes, strict=True):
        found |= {name: Attribution("transform") for name in mismatch.wrong if name not in found}
    return causes


Unexplained = list[tuple[MismatchedSample, dict[str, Attribution], tuple[str, ...]]]


def _unexplained(mismatched: Sequence[MismatchedSample], causes: Sequence[dict[str, Attribution]]) -> Unexplained:
    """Return the samples with values that have no cause yet, the causes found so far, and those values."""
    pairs = zip(mismatched, causes, strict=True)
    unexplained = ((one, found, tuple(name for name in one.wrong if name not in found)) for one, found in pairs)
    return [(one, found, names) for one, found, names in unexplained if names]


def _by_inspection(group: Group, mismatch: MismatchedSample) -> dict[str, Attribution]:
    """Return the causes that need no second computation."""
    sample = mismatch.sample
    if sample.definition != group.version:
        detail = f"written under {sample.definition or 'none'}, the view has {group.version}"
        return {name: Attribution("definition version", detail) for name in mismatch.wrong}
    if mismatch.truth is None:
        return {}
    pairs = {name: (sample.values[name], mismatch.truth[name]) for name in mismatch.wrong}
    return {
        name: Attribution("type", f"{type(served).__name__} for {type(true).__name__}")
        for name, (served, true) in pairs.items()
        if type(served) is not type(true) and _alike(served, true)
    }


def _alike(served: Any, true: Any) -> bool:
    """Return whether two values differ in nothing but their type."""
    if served is None or true is None:
        return False
    try:
        return str(served) == str(true) or float(served) == float(true)
    except ValueError:
        return False


def _by_expiry(ws: Workspace, engine: Engine, group: Group, unexplained: Unexplained) -> None:
    live = [one for one in unexplained if one[0].sample.rung == "live"]
    queries = [
        ValueQuery(one.sample.id, one.sample.event_us, known)
        for one, _, _ in live
        for known in (one.sample.knew_us, one.sample.known_us)
    ]
    found = recompute(ws, engine, group, queries)
    older = {id(one): found[2 * place : 2 * place + 2] for place, (one, _, _) in enumerate(live)}
    for one, causes, names in unexplained:
        rows = older.get(id(one), [one.then] if one.then is not None else [])
        if any(_agree(one.sample.values, row, names) for row in rows):
            causes |= {name: Attribution("expiry") for name in names}


def _by_identity(ws: Workspace, engine: Engine, group: Group, unexplained: Unexplained, links: Links) -> None:
    if not group.entity.linked:
        return
    queries = [ValueQuery(one.sample.id, one.sample.at_us, one.sample.knew_us) for one, _, _ in unexplained]
    for (one, causes, names), row in zip(unexplained, recompute(ws, engine, group, queries, links), strict=True):
        if _agree(one.sample.values, row, _unattributed(one, causes)):
            causes |= {name: Attribution("identity", OTHER_LINKS[links]) for name in names}


def _by_zone(ws: Workspace, engine: Engine, group: Group, unexplained: Unexplained) -> None:
    queries = [
        ValueQuery(one.sample.id, one.sample.at_us + offset * QUARTER_US, one.sample.knew_us)
        for one, _, _ in unexplained
        for offset in OFFSETS
    ]
    rows = recompute(ws, engine, group, queries)
    fits = [
        [
            offset
            for offset, row in zip(OFFSETS, rows[place * len(OFFSETS) :], strict=False)
            if _agree(one.sample.values, row, _unattributed(one, causes))
        ]
        for place, (one, causes, _) in enumerate(unexplained)
    ]
    for offset in _zones(fits, [len(names) for _, _, names in unexplained]):
        for (_, causes, names), fitting in zip(unexplained, fits, strict=True):
            if offset in fitting:
                causes |= {name: Attribution("time zone", _hours(offset)) for name in names if name not in causes}


def _zones(fits: Sequence[Sequence[int]], weights: Sequence[int]) -> Iterator[int]:
    """Yield the offsets that explain most values, each judged by what those before it left."""
    unexplained = list(range(len(fits)))
    for _ in range(ZONES):
        explained = Counter[int]()
        for place in unexplained:
            explained.update(dict.fromkeys(fits[place], weights[place]))
        best = max(OFFSETS, key=lambda offset: explained[offset])
        if explained[best] < PROOF:
            return
        yield best
        unexplained = [place for place in unexplained if best not in fits[place]]


def _unattributed(one: MismatchedSample, causes: Mapping[str, Attribution]) -> tuple[str, ...]:
    """Return the served features without a cause so far: an explanation has to fit all of them."""
    return tuple(name for name in one.sample.values if name not in causes)


def _agree(served: Mapping[str, Any], row: Mapping[str, Any], names: Sequence[str]) -> bool:
    return all(same_value(served[name], row.get(name)) for name in names)


def _hours(offset: int) -> str:
    hours, quarters = divmod(abs(offset), 4)
    return f"{'+' if offset > 0 else '-'}{hours:02}:{15 * quarters:02}"
