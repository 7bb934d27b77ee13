"""What ``rapport feature`` prints: cards, values with their facts, plans."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rapport.cli.console import utc

if TYPE_CHECKING:
    from rich.table import Table

    from features.declare.group import Group
    from features.inspect.explain import Explanation, Moment
    from features.inspect.plan import Change

SHOWN, WIDE = 20, 60


def state_text(row: Mapping[str, Any]) -> str:
    beside = f"; beside it {', '.join(row['older'])}" if row["older"] else ""
    return f"{row['state']}{beside}"


def card_tables(found: Mapping[str, Any]) -> Iterator["Table"]:
    from rapport.cli.tables import table

    lineage = found["lineage"]
    where = "" if lineage["where"] == "none" else f" where {lineage['where']}"
    feeds = ", ".join(f"{source['name']} ({source['fact']})" for source in lineage["sources"]) or "no source"
    rows = [(key, found[key]) for key in ("meaning", "owner", "purpose", "pii", "about", "served")]
    rows += [("reads", f"{lineage['fact']}{where} <- {feeds}")]
    yield table(f"{found['name']}: {found['view']}", ("", ""), rows)
    features = (
        (f["name"], f["type"], f["meaning"], _short(f["computed"]), f["empty"], f["default"], _expected(f["expect"]))
        for f in found["features"]
    )
    yield table("features", ("feature", "type", "meaning", "computed", "empty", "default", "expected"), features)
    versions = (
        (v["view"], "..".join(v["nights"]), v["bytes"], v["seconds"], ", ".join(v["pinned_by"]) or "nothing")
        for v in found["versions"]
    )
    yield table("in the lake", ("view", "nights", "bytes", "build seconds", "pinned by"), versions)
    users = ((f"{u['model']} v{u['version']}", u["state"], len(u["features"])) for u in found["used_by"])
    yield table("used by", ("model", "state", "features"), users)


def _expected(expect: Mapping[str, Any]) -> str:
    bounds = {"at least": expect["least"], "at most": expect["most"], "filled": expect["filled"] or None}
    return ", ".join(f"{word} {value:g}" for word, value in bounds.items() if value is not None)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= WIDE else f"{text[: WIDE - 1]}…"


def try_json(
    group: "Group", moment: "Moment", answers: "Iterable[Explanation]", built: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    entities = [
        {
            "entity": answer.entity,
            "values": answer.values,
            "built": {name: built[answer.entity][name] for name in answer.values} if answer.entity in built else None,
            "facts": answer.facts,
        }
        for answer in answers
    ]
    asked = {"group": group.name, "view": group.view, "fact": group.fact}
    return asked | {"at": moment.at, "known_by": moment.known_by, "entities": entities}


def try_tables(
    group: "Group", moment: "Moment", answers: "Iterable[Explanation]", built: Mapping[str, Mapping[str, Any]]
) -> Iterator["Table | str"]:
    from rapport.cli.tables import table

    lag = "" if moment.known_by == moment.at else f" less its lag of {group.live_lag}"
    yield f"{group.view} at {utc(moment.at)}, as known then{lag}"
    for answer in answers:
        night = built.get(answer.entity)
        heads = ("feature", "value", *(("built that night",) if night else ()))
        values = ((name, value, *((night[name],) if night else ())) for name, value in answer.values.items())
        yield table(f"{group.entity.name} {answer.entity}", heads, values)
        yield from _facts(group, answer)


def _facts(group: "Group", answer: "Explanation") -> Iterator["Table | str"]:
    from rapport.cli.tables import table

    read = sorted(group.columns - {"event_id", "event_time"})
    rows = (
        (
            *(f["event_id"], utc(f["event_time"]), utc(f["known_at"]), f["source"], f["file"]),
            *(_short(f[column]) if f[column] is not None else None for column in read),
            " ".join(f["windows"]),
        )
        for f in answer.facts[:SHOWN]
    )
    heads = ("event", "event_time", "known_at", "source", "file", *read, "windows")
    yield table(f"{len(answer.facts)} facts of {group.fact}", heads, rows)
    if (more := len(answer.facts) - SHOWN) > 0:
        yield f"and {more} older ones (--json has all)"


def plan_lines(changes: "Iterable[Change]") -> Iterator[str]:
    quiet = [change for change in changes if change.action == "keep"]
    for change in (change for change in changes if change.action != "keep"):
        yield f"{change.action:9} {change.view}"
        yield from (f"          {line}" for line in _details(change))
    yield f"keep      {len(quiet)} groups as they are"


def _details(change: "Change") -> Iterator[str]:
    yield from change.reasons
    if change.backfill and change.estimate:
        expected = change.estimate
        estimated = (
            f"an estimated {expected.seconds:g} s and {expected.rows or 0:,} rows, from {', '.join(expected.based_on)}"
            if expected.seconds is not None
            else "nothing similar was built yet, so there is no estimate"
        )
        yield f"back-fill {change.backfill}, {expected.nights} nights, before it serves: {estimated}"
    for old in change.older_versions:
        pinned = f"pinned by {', '.join(old.pinned_by)}" if old.pinned_by else "pinned by no model"
        yield f"beside it stays {old.view}, to {old.nights.last}, {old.size:,} bytes, {pinned}"
