"""The spine: which entities at which moments, with their label; made from the facts as they were known then.

Comes after ``labels.py`` has declared what is predicted; ``dataset.py`` fills it with features.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import duckdb
import ibis
import pandas as pd

from features.compute.as_known import as_known, history, merged_ids
from features.compute.windowing import DAY_MICROS
from infra.clock import cutoff
from infra.workspace import Workspace
from rapport_feast.publications import PUBLISH_LAG
from rapport_feast.times import DAY, day_number
from training.data.label import Label


def missing_facts(ws: Workspace, label: Label) -> list[str]:
    """Return the facts of a label that no source of the company delivered."""
    return [fact for fact in label.facts if not ws.lake.exists(f"silver/{fact}")]


def spine_nights(label: Label, night: date, first: date) -> list[date]:
    """Return the nights of a spine, oldest first: the newest mature one, and every n-th before it."""
    wait = label.horizon // DAY if label.horizon else 0
    newest = night - (wait + 1) * DAY
    nights = (newest - i * label.every * DAY for i in range(label.samples))
    return sorted(one for one in nights if one >= first)


def build_spine(ws: Workspace, label: Label, night: date) -> pd.DataFrame:
    """Return entities, moments and labels, as far as they are mature at a night's cutoff.

    Returns
    -------
    pandas.DataFrame
        Key of the entity, ``event_time`` (when the night's values were served, or the decision), ``label`` (float) and
        ``label_end`` (when it was known), sorted by time and key; a reward has its decision's columns beside.
    """
    with ws.lake.connect() as con:
        if label.eligible:
            _fill_spine(ws, con, label, night)
        for fact in label.facts:
            con.execute(f"DROP VIEW IF EXISTS known_{fact}")
            as_known(ws, con, fact, night)
        if label.eligible and label.entity.linked:
            # What somebody did after two ids turned out to be one person counts for the one that remained.
            con.execute(f"DELETE FROM spine WHERE {label.entity.key} IN (FROM {merged_ids(ws, con, night)})")
        rows = con.execute(label.outcome, _named_in(label.outcome, {"horizon": label.horizon})).df()
    mature = rows[rows["label_end"] <= pd.Timestamp(cutoff(night))]
    extra = ["decision_id"] if "decision_id" in rows else []
    return _microseconds(mature).sort_values(["event_time", label.entity.key, *extra], kind="stable", ignore_index=True)


def _fill_spine(ws: Workspace, con: duckdb.DuckDBPyConnection, label: Label, night: date) -> None:
    """Fill the table ``spine``, each night as it was known then."""
    con.execute(f"CREATE TEMP TABLE spine ({label.entity.key} VARCHAR, event_time TIMESTAMPTZ)")
    fact = label.facts[0]
    table = _history(ws, con, fact, night)
    row = con.execute(f"SELECT min(event_time) FROM {table}").fetchone()
    first = row[0] if row else None
    for one in spine_nights(label, night, first.date() if isinstance(first, datetime) else night):
        at = (day_number(one) + 1) * DAY_MICROS - 1
        known = f"SELECT * FROM {table} WHERE known_from <= {at} AND {at} < known_until"
        con.execute(f"CREATE OR REPLACE TEMP VIEW known_{fact} AS {known}")
        values = {"cutoff": cutoff(one), "active": label.active, "served": cutoff(one) + PUBLISH_LAG}
        con.execute(f"INSERT INTO spine SELECT *, $served::TIMESTAMPTZ FROM ({label.eligible})", values)


def _history(ws: Workspace, con: duckdb.DuckDBPyConnection, fact: str, night: date) -> str:
    """Make a table of every revision with the time in which it counted, so that many nights read it once."""
    con.execute(f"CREATE TEMP TABLE history_{fact} AS {ibis.to_sql(history(ws, con, fact, night), dialect='duckdb')}")
    return f"history_{fact}"


def _named_in(sql: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a query names: DuckDB refuses others."""
    return {name: value for name, value in values.items() if f"${name}" in sql}


def _microseconds(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(**{name: rows[name].astype("datetime64[us, UTC]") for name in ("event_time", "label_end")})
