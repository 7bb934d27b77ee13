"""Features equal a plain oracle, and nights one by one equal history in one pass (rules T2, T3, T5, T6, T7, V3)."""

import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features import build as builder
from features.catalogue import group_named
from features.spec import Group
from infra.clock import FixedClock, Nights
from infra.company import Company, Source
from infra.engine import open_engine
from infra.lake import Commit
from infra.settings import EngineName, Settings
from infra.workspace import Workspace
from tests.property.oracle import night_rows

FIRST, LAST = date(2024, 2, 27), date(2024, 3, 2)  # a leap day stands between
COMPANY = Company(
    name="oracle",
    title="for the oracle",
    sources=tuple(
        Source(name=fact, adapter="csv", fact=fact, path="none", id_space="crm")
        for fact in ("transactions", "ticket_events", "interactions")
    ),
    identity={"crm": ""},
)
MIDNIGHT = datetime(2024, 2, 27, tzinfo=UTC)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)

moments = st.one_of(
    st.integers(-100 * 24, 5 * 24 - 1).map(lambda hours: MIDNIGHT + timedelta(hours=hours)),
    st.integers(-95, 4).map(lambda days: MIDNIGHT + days * DAY),
    st.integers(-95, 4).map(lambda days: MIDNIGHT + days * DAY + MICROSECOND),
    st.integers(-95, 5).map(lambda days: MIDNIGHT + days * DAY - MICROSECOND),
)
PAYLOADS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "transactions": st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["order", "refund", "plan_change"]),
            "product": st.sampled_from(["a", "b", None]),
            "amount_minor": st.integers(0, 10**12),
        }
    ),
    "ticket_events": st.fixed_dictionaries(
        {
            "ticket_id": st.sampled_from([f"T{i}" for i in range(12)]),
            "kind": st.sampled_from(["opened", "assigned", "escalated", "reopened", "closed"]),
            "priority": st.sampled_from([1, 3, None]),
            "category": st.sampled_from(["x", "y", None]),
            "assignment_group": st.sampled_from(["g", "h", None]),
            "channel": st.sampled_from(["chat", None]),
        }
    ),
    "interactions": st.fixed_dictionaries(
        {
            "thread_id": st.sampled_from([*(f"T{i}" for i in range(8)), "H1"]),
            "channel": st.sampled_from(["chat", "email"]),
            "author_role": st.sampled_from(["customer", "agent", "bot"]),
            "text": st.sampled_from(["It is BROKEN", "thank you", "äöü", None]),
        }
    ),
}
SCHEMAS = {
    "transactions": {"kind": pa.string(), "product": pa.string(), "amount_minor": pa.int64()},
    "ticket_events": {
        name: pa.int64() if name == "priority" else pa.string()
        for name in ("ticket_id", "kind", "priority", "category", "assignment_group", "channel")
    },
    "interactions": dict.fromkeys(("thread_id", "channel", "author_role", "text"), pa.string()),
}
STAMP = pa.timestamp("us", "UTC")
COMMON = {
    "event_id": pa.string(),
    "source": pa.string(),
    "id_space": pa.string(),
    "source_id": pa.string(),
    "event_time": STAMP,
    "ingested_at": STAMP,
    "revision": pa.int64(),
    "retracted": pa.bool_(),
    "file": pa.string(),
    "position": pa.int64(),
}


@st.composite
def fact_rows(draw: st.DrawFn, fact: str) -> list[dict[str, Any]]:
    """Draw silver rows: late, revised, retracted, out of order, some without a customer."""
    numbered = draw(st.booleans())
    rows = []
    for position in range(draw(st.integers(20, 90))):
        happened = draw(moments)
        delay = draw(st.sampled_from([timedelta(0), timedelta(hours=5), DAY, 3 * DAY]))
        known = min(max(happened + delay, MIDNIGHT), MIDNIGHT + 5 * DAY - MICROSECOND)
        rows.append(
            draw(PAYLOADS[fact])
            | {
                "event_id": f"s:{draw(st.integers(0, 30))}",
                "source": "s",
                "id_space": "crm",
                "source_id": draw(st.sampled_from([f"C{i}" for i in range(12)])),
                "event_time": happened,
                "ingested_at": known,
                "revision": draw(st.integers(0, 3)) if numbered else None,
                "retracted": draw(st.integers(0, 5)) == 0,
                "file": "f",
                "position": position,
            }
        )
    return rows


def write_silver(ws: Workspace, fact: str, rows: Sequence[dict[str, Any]]) -> None:
    schema = pa.schema({**COMMON, **SCHEMAS[fact], "known_day": pa.date32()})
    dated = [row | {"known_day": row["ingested_at"].date()} for row in rows]
    commit = Commit(Nights(FIRST, LAST))
    ws.lake.replace(f"silver/{fact}", pa.Table.from_pylist(dated, schema), commit, partition="known_day")


def workspace(folder: Path) -> Workspace:
    return Workspace(Settings(home=folder), COMPANY, FixedClock(datetime(2024, 4, 1, tzinfo=UTC)))


def build_group(ws: Workspace, group: Group, nights: Nights, engine: EngineName = "duckdb") -> None:
    with open_engine(ws, engine) as opened:
        built = builder.compute(ws, opened, group, nights)
    ws.lake.replace(builder.tiles_table(group), built.tiles, Commit(nights))
    ws.lake.replace(builder.features_table(group), built.features, Commit(nights))


GROUPS = ("customer_orders", "customer_tickets", "customer_messages", "ticket_progress", "ticket_messages")


@pytest.mark.parametrize("name", GROUPS)
@settings(max_examples=2, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(data=st.data())
def test_nights_equal_the_oracle_and_each_other(name: str, data: st.DataObject) -> None:
    group = group_named(name)
    rows = data.draw(fact_rows(group.fact))
    with tempfile.TemporaryDirectory() as folder:
        once, daily = workspace(Path(folder) / "once"), workspace(Path(folder) / "daily")
        for ws in (once, daily):
            write_silver(ws, group.fact, rows)
        build_group(once, group, Nights(FIRST, LAST))
        for night in Nights(FIRST, LAST):
            build_group(daily, group, Nights(night, night))
        build_group(daily, group, Nights(date(2024, 2, 29), date(2024, 2, 29)))
        for table in (builder.tiles_table(group), builder.features_table(group)):
            assert once.lake.digests(table) == daily.lake.digests(table)
        found = once.lake.read(builder.features_table(group)).to_pylist()
    local = "ticket_id" if group.fact == "ticket_events" else "thread_id"
    named = [row | {"entity": row[local] if group.entity.name == "ticket" else row["source_id"]} for row in rows]
    for night in Nights(FIRST, LAST):
        tonight = {row[group.entity.key]: row for row in found if row["night"] == night}
        expected = night_rows(group, named, night)
        assert {
            entity: {feature.name: row[feature.name] for feature in group.outputs} for entity, row in tonight.items()
        } == expected
