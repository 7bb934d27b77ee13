"""The state of the ring as each step left it; works at any stage."""

import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from features.catalogue import groups_of
from infra.workspace import Workspace
from rapport.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

NO_FACTS = {"read": 0, "silver": 0, "quarantined": 0, "duplicates": 0}
NO_MODEL = {"champion": None, "challenger": None, "reason": "It was not trained yet."}
NO_DRIFT = {"verdict": None, "at": None}


def ring_status(ws: Workspace) -> dict[str, Any]:
    """Return the state of the company's ring as JSON-able values; counts are 0 where nothing ran yet."""
    from rapport.stack.runs import newest_runs

    night = newest_night(ws)
    names = [model.name for model in ws.company.models]
    return {
        "company": ws.company.name,
        "night": str(night) if night else None,
        "facts": fact_counts(ws, night),
        "features": feature_counts(ws),
        "online": {"keys": online_keys(ws)},
        "models": {name: read_keys(ws, f"models/{name}/status.json", NO_MODEL) for name in names},
        "drift": read_keys(ws, "reports/drift.json", NO_DRIFT),
        "runs": newest_runs(ws),
    }


def newest_night(ws: Workspace) -> date | None:
    """Return the newest night of which features were built."""
    nights = (ws.lake.newest(f"features/{group.view}") for group in groups_of(ws.company))
    return max(filter(None, nights), default=None)


def fact_counts(ws: Workspace, night: date | None) -> dict[str, dict[str, int]]:
    """Return per fact how many rows were read and what became of them, by the cutoff of the night."""
    none = {source.fact: dict(NO_FACTS) for source in ws.company.sources}
    if night is None:
        return none
    from validation.gate.accounts import counts

    counted = counts(ws, night)
    return {fact: {name: int(counted.get(fact, zero)[name]) for name in zero} for fact, zero in none.items()}


def feature_counts(ws: Workspace) -> dict[str, dict[str, Any]]:
    """Return per group how many rows the lake holds, of how many features, and the newest time among them."""
    found = {}
    with ws.lake.connect() as connection:
        for group in groups_of(ws.company):
            table, rows, newest = f"features/{group.view}", 0, None
            if ws.lake.exists(table):
                view = ws.lake.view(connection, table)
                query = f"SELECT count(*), strftime(max(event_time), '%Y-%m-%dT%H:%M:%S.%fZ') FROM \"{view}\""
                rows, newest = connection.execute(query).fetchall()[0]
            found[group.name] = {"rows": rows, "features": len(group.outputs), "newest": newest}
    return found


def online_keys(ws: Workspace) -> int:
    """Return how many entities the online store holds; 0 before anything was published."""
    if not (ws.settings.redis_url or any(ws.folder("valkey").iterdir())):
        return 0
    from infra.redis.online_store import online_store

    with online_store(ws) as store:
        return store.count()


def read_keys(ws: Workspace, path: str, otherwise: Mapping[str, Any]) -> dict[str, Any]:
    """Return those keys of a step's JSON file that ``otherwise`` has, or ``otherwise`` where there is no file."""
    file = ws.root / path
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: content.get(name, value) for name, value in otherwise.items()}


def status_tables(state: Mapping[str, Any]) -> Iterable["Table"]:
    """Yield the state of the ring as tables."""
    yield table(
        f"{state['company']}, night {state['night'] or 'none yet'}",
        ("fact", "read", "silver", "quarantined", "duplicates"),
        ((fact, *counts.values()) for fact, counts in state["facts"].items()),
    )
    yield table(
        f"features ({state['online']['keys']:,} entities online)",
        ("group", "rows", "features", "newest"),
        ((group, *entry.values()) for group, entry in state["features"].items()),
    )
    yield table("models", ("model", "champion", "reason"), model_rows(state["models"]))
    drift = state["drift"]
    yield table(
        f"runs (drift: {drift['verdict'] or 'not judged yet'}{', ' + drift['at'] if drift['at'] else ''})",
        ("dag", "partition", "state", "seconds"),
        ((run["dag"], run["partition_key"], run["state"], run["seconds"]) for run in state["runs"][:5]),
    )


def model_rows(state: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    """Yield name, champion and reason of each model."""
    for name, model in state.items():
        champion = model["champion"]
        text = (
            "v{version} {metric} {value:.4g} [{interval[0]:.4g}, {interval[1]:.4g}], baseline {baseline:.4g}".format(
                **champion
            )
            if champion
            else "none"
        )
        yield name, text, model["reason"]
