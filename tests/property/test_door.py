"""The door of streamed events gives the verdicts of the nightly gate on the same records, row by row."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from infra.log.event_log import Entry
from infra.log.open import event_log
from infra.workspace import Workspace
from rapport_feast.times import micros
from tests.streamed_companies import EVENT, HandClock, at, company, event, streamed
from validation.bronze.dead_letters import DEAD_LETTERS
from validation.bronze.ingest import ingest
from validation.contracts.event_schema import event_schema
from validation.contracts.language import Column
from validation.contracts.silver import silver_columns
from validation.contracts.standard import CONTRACTS
from validation.door.door import Door
from validation.gate.run import gate

FACTS = tuple(CONTRACTS)
START = datetime(2026, 5, 25, 23, 50, tzinfo=UTC)
NIGHT = date(2026, 5, 26)
TIMES = (
    *("2026-05-25T10:00:00Z", "2026-05-25 23:59:59.9999999", "2026-05-26T02:00:00+02:00", "2026-05-26T00:05:00Z"),
    *("2026-05-27T00:00:00Z", "2024-02-30", "0001-01-01", "soon", "", 1716631200),
)
POISON = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff\xfe",
    b'{"event_id": "\\ud800"}',
    b"[" * 5000,
    b'{"a":' * 40 + b"1" + b"}" * 40,
)
STRANGE = st.sampled_from(
    ["", "NaN", "1e400", "-1", "3.0", "9" * 30, "a\x00b", "a\nb", [1], {"a": 1}, None, True, 1.5, 7]
)


def good(column: Column) -> st.SearchStrategy[object]:
    """Draw values that a column may have, in the forms in which JSON brings them."""
    if column.name == "event_id":
        return st.sampled_from(["a", "b", "c", "d"])
    if column.type == "time":
        return st.sampled_from(TIMES)
    if column.allowed:
        return st.sampled_from(column.allowed)
    if column.type == "boolean":
        return st.sampled_from([True, False, "yes", "0", None])
    if column.type in ("integer", "decimal"):
        edges = [edge for edge in (column.least, column.most) if edge is not None]
        near = [edge + step for edge in edges for step in (-1, 0, 1)]
        return st.sampled_from(
            [1, "1", 2.0, *map(int, near), *([0.5, ".5", "1e-3"] if column.type == "decimal" else [])]
        )
    if column.masked:
        return st.sampled_from(["call +49 30 1234567", "jo@example.org", "nothing", None])
    return st.sampled_from(["eur", "EUR", "en", "C1", "O1", None if not column.required else "x"])


@st.composite
def payloads(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw an event of a source, with a few values that are strange; now and then one that is none at all."""
    fact = draw(st.sampled_from(FACTS))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([fact, "nobody"])), draw(st.sampled_from(POISON))
    row = {column.name: draw(good(column)) for column in CONTRACTS[fact].all_columns}
    for name in draw(st.lists(st.sampled_from(list(row)), max_size=2)):
        row[name] = draw(STRANGE)
    if draw(st.booleans()):
        row["surplus"] = [{"kept": True}]
    return fact, event(row)


def logged(ws: Workspace, found: list[tuple[str, bytes]]) -> list[Entry]:
    """Append events around midnight, half a minute apart; returns the entries."""
    assert isinstance(ws.clock, HandClock)
    with event_log(ws) as log:
        for number, (name, payload) in enumerate(found):
            ws.clock.at = START + timedelta(seconds=30 * number)
            log.append(name, [payload])
        return log.read(0, len(found) + 1)


@pytest.mark.slow
@pytest.mark.row("R59")
@settings(
    max_examples=2, phases=[Phase.explicit, Phase.generate], deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.lists(payloads(), min_size=80, max_size=120))
def test_the_door_and_the_gate_agree(found: list[tuple[str, bytes]]) -> None:
    """Accepted, refused, why, and every value of silver; late, early, repeated and broken ones among them."""
    with TemporaryDirectory() as folder:
        ws = company(Path(folder), *(streamed(fact) for fact in FACTS))
        entries = logged(ws, [("outcomes", event()), *found])
        assert [(entry.source, entry.payload) for entry in entries[1:]] == found
        door = Door(ws.company)
        admitted = door.admit(entries)
        door.close()
        at(ws, 2026, 5, 27, 6)
        ingest(ws, NIGHT)
        gate(ws, NIGHT)
        refused = {entry.position: reason for entry, reason in admitted.refused}
        assert refused == reasons(ws)
        assert {e.position for e in entries} == set(refused) | {
            p for t in admitted.rows.values() for p in t["position"].to_pylist()
        }
        for fact in FACTS:
            rows = {row["position"]: row for row in admitted.rows[fact].to_pylist()} if fact in admitted.rows else {}
            silver = ws.lake.read(f"silver/{fact}").select(list(silver_columns(CONTRACTS[fact]))).to_pylist()
            repeats = set(ws.lake.read(f"duplicates/{fact}")["position"].to_pylist())
            for row in silver:
                assert {name: rows[row["position"]][name] for name in row} == row
            assert {row["position"] for row in silver} | repeats == set(rows)


def reasons(ws: Workspace) -> dict[int, str]:
    """Return position and reason of what the nights put into quarantine, each once."""
    tables = [ws.lake.read(table) for table in (*(f"quarantine/{fact}" for fact in FACTS), DEAD_LETTERS)]
    rows = [(row["position"], row["reason"]) for table in tables for row in table.to_pylist()]
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def test_what_the_door_accepts_is_valid_by_the_schema(tmp_path: Path) -> None:
    """For every fact; what lacks a key, has another word or another form is not."""
    ws = company(tmp_path, *(streamed(fact) for fact in FACTS))
    door = Door(ws.company)
    validators = {one.name: Draft202012Validator(event_schema(one)) for one in ws.company.sources}
    for validator in validators.values():
        Draft202012Validator.check_schema(validator.schema)
    accepted: Counter[str] = Counter()

    @settings(max_examples=40, deadline=None)
    @given(st.lists(payloads(), min_size=30, max_size=30))
    def valid(found: list[tuple[str, bytes]]) -> None:
        entries = [Entry(place, micros(START), name, payload) for place, (name, payload) in enumerate(found)]
        refused = {entry.position for entry, _ in door.admit(entries).refused}
        for entry in entries:
            if entry.position not in refused:
                validators[entry.source].validate(json.loads(entry.payload))
                accepted[entry.source] += 1

    valid()
    door.close()
    assert len(accepted) > len(FACTS) / 2
    order = validators["transactions"]
    assert order.is_valid(dict(EVENT))
    for spoiled in (
        {"kind": "gift"},
        {"currency": "eur"},
        {"event_time": "soon"},
        {"amount_minor": 1.5},
        {"order_id": ""},
    ):
        assert not order.is_valid({**EVENT, **spoiled})
    assert not order.is_valid({name: value for name, value in EVENT.items() if name != "kind"})
