"""Logged requests: training reads what serving computed, from the text as it was typed, and nothing that came later."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from features.catalogue import standard
from features.compute.historical import historical
from features.compute.inputs import request_features
from features.compute.logged_requests import logged_requests
from infra.clock import FixedClock, Nights, cutoff
from infra.company.company import Company
from infra.company.source import Source
from infra.lake.commit import Commit
from infra.settings import Settings
from infra.workspace import Workspace

MESSAGE = standard().request("message")
NAMES = [feature.name for feature in MESSAGE.outputs]
NIGHT = date(2026, 5, 25)
NOON = datetime(2026, 5, 25, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def same(ours: object, theirs: object) -> bool:
    return (ours is None and pd.isna(theirs)) or ours == theirs  # type: ignore[call-overload]


def last_night(ws: Workspace) -> date:
    newest = ws.lake.newest("silver/interactions")
    assert newest is not None
    return newest


@pytest.mark.slow
@pytest.mark.row("V1")
def test_training_reads_what_serving_answered(small_ring: Workspace) -> None:
    """The raw text of the source goes through serving, the same message through door, silver and compiler."""
    spine = logged_requests(small_ring, MESSAGE, last_night(small_ring)).set_index("event_id")
    raw = small_ring.lake.read("bronze/chat").select(["message_id", "body", "channel", "exported_at"])
    first = (
        raw.to_pandas().sort_values("exported_at", kind="stable").drop_duplicates("message_id").set_index("message_id")
    )
    typed = first.loc[[event.removeprefix("chat:") for event in spine.index]]
    assert len(spine) > 500
    assert typed["body"].str.contains("@").any()
    for (event, row), (_, told) in zip(spine.iterrows(), typed.iterrows(), strict=True):
        served = request_features(MESSAGE, {"text": told["body"], "channel": told["channel"]})
        assert all(same(served[name], row[name]) for name in NAMES), (event, told["body"], served)
    assert all(spine[name].nunique() > 1 for name in NAMES)


@pytest.mark.slow
@pytest.mark.row("V1")
def test_the_message_that_is_answered_is_no_fact_yet(small_ring: Workspace) -> None:
    """At the first message of a ticket's conversation nothing was said yet, whatever live group is asked."""
    group = standard().group("ticket_messages")
    spine = logged_requests(small_ring, MESSAGE, last_night(small_ring))
    spine = spine[spine["ticket_id"].str.startswith("T")].drop_duplicates("ticket_id").reset_index(drop=True)
    asked = pa.table(
        {
            "ticket_id": pa.array(spine["ticket_id"], pa.string()),
            "event_time": pa.array(spine["event_time"], pa.timestamp("us", "UTC")),
            "position": range(len(spine)),
        }
    )
    found = historical(small_ring, group, asked)
    assert len(spine) > 100
    assert set(found["ticket__customer_messages__60d"].to_pylist()) == {0}
    assert set(found["ticket__last_author__60d"].to_pylist()) <= {None}
    later = asked.set_column(1, "event_time", pa.array(spine["event_time"] + pd.Timedelta(days=3), asked[1].type))
    assert max(historical(small_ring, group, later)["ticket__customer_messages__60d"].to_pylist()) > 1


def message(event: str, text: str | None, known: timedelta, **values: Any) -> dict[str, Any]:
    return {
        "event_id": event, "source": "chat", "id_space": "crm", "source_id": "C1", "event_time": NOON,
        "ingested_at": NOON + known, "revision": None, "retracted": False, "revises": False, "file": "f",
        "position": known // MINUTE, "channel": "chat", "thread_id": "T1", "author_role": "customer",
        "visibility": "public", "text": text, "known_day": NIGHT, **values,
    }  # fmt: skip


def test_a_logged_request_is_what_was_typed(tmp_path: Path) -> None:
    source = Source(name="chat", adapter="csv", fact="interactions", path="none", id_space="crm")
    company = Company(name="c", title="", sources=(source,), identity={"crm": "crm:"})
    ws = Workspace(Settings(home=tmp_path), company, FixedClock(datetime(2026, 6, 1, tzinfo=UTC)))
    rows = [
        message("edited", "I am ANGRY", MINUTE),
        message("edited", "never mind, thanks", 3 * MINUTE, revises=True),
        message("withdrawn", "my card is here", MINUTE),
        message("withdrawn", None, 2 * MINUTE, retracted=True, revises=True),
        message("answer", "I am sorry", MINUTE, author_role="agent"),
        message("note", "a note to myself", MINUTE, visibility="private"),
        message("silent", None, MINUTE, channel="email", event_time=NOON + MINUTE),
        message("tomorrow", "too late", timedelta(days=1), known_day=NIGHT + timedelta(days=1)),
    ]
    schema = pa.Table.from_pylist(rows).schema
    at = schema.get_field_index("revision")
    table = pa.Table.from_pylist(rows, schema.set(at, pa.field("revision", pa.int64())))
    commit = Commit(Nights(NIGHT, NIGHT + timedelta(days=1)))
    ws.lake.replace("silver/interactions", table, commit, partition="known_day")
    spine = logged_requests(ws, MESSAGE, NIGHT)
    assert list(spine.columns) == ["customer_id", "ticket_id", "event_time", "event_id", "text", "channel", *NAMES]
    told = spine[["event_id", "customer_id", "ticket_id", "text", "message__negative", "message__positive"]]
    assert [tuple(None if pd.isna(one) else one for one in row) for row in told.itertuples(index=False)] == [
        ("edited", "crm:C1", "crm:T1", "I am ANGRY", 1, 0),
        ("silent", "crm:C1", "crm:T1", None, 0, 0),
    ]
    assert str(spine["event_time"].dtype) == "datetime64[us, UTC]"
    assert (spine["event_time"] <= pd.Timestamp(cutoff(NIGHT))).all()
    assert list(logged_requests(ws, MESSAGE, NIGHT + timedelta(days=1))["event_id"]) == ["edited", "tomorrow", "silent"]
