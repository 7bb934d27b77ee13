"""The adapters: text as it came, ids and kinds told from the row and its past, hindsight refused."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.company.source import Source
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from tests.small_companies import NIGHT, ORDER, deliver, source, workspace
from validation.bronze.ingest import ingest
from validation.contracts.standard import CONTRACTS
from validation.gate.run import gate
from validation.sources import servicenow as incidents
from validation.sources import star as dialogues
from validation.sources.catalogue import adapter
from validation.sources.coverage import first_night, last_night
from validation.sources.protocol import BROKEN

LOG = {
    "number": "0000001", "event_seq": 0, "incident_state": "New", "reassignment_count": 0, "reopen_count": 0,
    "made_sla": True, "caller_id": "7", "sys_updated_at": datetime(2026, 5, 25, 9, tzinfo=UTC), "contact_type": "Phone",
    "category": "55", "priority": "3", "assignment_group": "a",
}  # fmt: skip
LINE = {
    "Invoice": "1", "StockCode": "85048", "Description": "LIGHTS", "Quantity": 3,
    "InvoiceDate": datetime(2026, 5, 25, 9, tzinfo=UTC), "Price": 0.335, "Customer ID": 13085, "Country": "UK",
}  # fmt: skip


def servicenow(**more: object) -> Source:
    """Return a source of the incident log."""
    told = {"name": "log", "adapter": "servicenow", "fact": "ticket_events", "path": "in/log.parquet", "id_space": "s"}
    return Source.model_validate(told | more)


def whole(home: Path, name: str, fact: str, rows: list[dict[str, object]], through: date = NIGHT) -> Workspace:
    """Bring one whole file through the door up to a night."""
    told = (
        f'path = "in/file.parquet"\nid_space = "x"\nadapter = "{name}"\nfact = "{fact}"\ncomplete_through = {through}\n'
    )
    ws = workspace(home, f'[[sources]]\nname = "log"\n{told}')
    deliver(home, "file.parquet", rows)
    ingest(ws, through)
    gate(ws, through)
    return ws


def test_values_are_text_as_they_came(tmp_path: Path) -> None:
    """Digits, zeros and words stay; what is no row is kept whole."""
    (tmp_path / "a.csv").write_text('n,t\n007,"a, b"\n1.10,\nonly one\n')
    (tmp_path / "a.jsonl").write_text('{"n": 1.10, "t": true, "x": {"y": [1]}}\nnot json\n{"t": null}\n')
    pq.write_table(pa.table({"n": [1], "t": pa.array([datetime(2026, 5, 25, tzinfo=UTC)])}), tmp_path / "a.parquet")
    read = {
        kind: adapter(servicenow(adapter=kind)).read(tmp_path / f"a.{kind}") for kind in ("csv", "jsonl", "parquet")
    }
    assert read["csv"].to_pydict() == {
        "n": ["007", "1.10", None],
        "t": ["a, b", None, None],
        BROKEN: [None, None, "only one"],
    }
    assert read["jsonl"]["n"].to_pylist() == ["1.10", None, None]
    assert read["jsonl"]["t"].to_pylist() == ["true", None, None]
    assert read["jsonl"]["x"].to_pylist() == ['{"y": ["1"]}', None, None]
    assert read["jsonl"][BROKEN].to_pylist() == [None, "not json", None]
    assert read["parquet"].to_pylist() == [{"n": "1", "t": "2026-05-25 00:00:00.000000Z"}]


def test_an_unknown_adapter_is_refused() -> None:
    """The sentence lists those that there are."""
    with pytest.raises(Rejected, match="servicenow"):
        adapter(servicenow(adapter="xlsx"))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *(("servicenow", column) for column in incidents.HINDSIGHT),
        *(("star", column) for column in dialogues.HINDSIGHT),
    ],
)
def test_a_hindsight_column_cannot_be_mapped(name: str, column: str) -> None:
    """Neither as a column of the fact nor as its availability."""
    for told in ({"columns": {"category": column}}, {"available": column}):
        log = servicenow(adapter=name, **told)
        with pytest.raises(Rejected, match=f"'{column}'") as error:
            adapter(log).columns(log)
        assert "\n" not in str(error.value)


def test_the_kind_of_a_ticket_event_follows_from_its_past(tmp_path: Path) -> None:
    """Also where the rows stand in another order and a minute runs backwards."""
    steps = [
        {},
        {"assignment_group": "b", "reassignment_count": 1, "sys_updated_at": datetime(2026, 5, 25, 8, tzinfo=UTC)},
        {"assignment_group": "b", "reassignment_count": 1},
        {"assignment_group": "b", "reassignment_count": 1, "incident_state": "Resolved"},
        {"assignment_group": "b", "reassignment_count": 1, "reopen_count": 1, "caller_id": None},
        {
            "assignment_group": "b",
            "reassignment_count": 1,
            "reopen_count": 1,
            "incident_state": "Closed",
            "made_sla": False,
        },
    ]
    rows = [LOG | step | {"event_seq": i} for i, step in enumerate(steps)]
    silver = whole(tmp_path, "servicenow", "ticket_events", rows[::-1]).lake.read("silver/ticket_events")
    found = {row["event_id"]: row for row in silver.to_pylist()}
    assert [found[f"log:0000001-{i}"]["kind"] for i in range(6)] == [
        *("opened", "assigned", "updated", "resolved", "reopened", "closed")
    ]
    assert [found[f"log:0000001-{i}"]["sla_met"] for i in range(6)] == [None] * 5 + [False]
    assert found["log:0000001-4"]["source_id"] is None
    late = found["log:0000001-1"]
    assert (late["event_time"].hour, late["ingested_at"].hour) == (8, 9)


def test_later_rows_change_no_earlier_ticket_event(tmp_path: Path) -> None:
    """The kinds of a log that is cut short are those of the whole log: nothing looks ahead."""
    states = ["New", "Active", "Resolved", "Active", "Closed"]
    rows = [LOG | {"event_seq": i, "incident_state": s, "reassignment_count": i // 2} for i, s in enumerate(states)]
    kinds = []
    for n in range(1, 6):
        silver = whole(tmp_path / str(n), "servicenow", "ticket_events", rows[:n]).lake.read("silver/ticket_events")
        kinds.append(silver.sort_by("event_id")["kind"].to_pylist())
    assert kinds == [kinds[-1][:n] for n in range(1, 6)]


def test_invoice_lines_become_orders_refunds_and_adjustments(tmp_path: Path) -> None:
    """Amounts are exact decimals; equal lines are different events; a customer may be unknown."""
    lines = [
        LINE,
        LINE,
        LINE | {"Invoice": "C2", "Quantity": -3},
        LINE | {"Invoice": "A3", "Quantity": 1, "Price": -53594.36, "Customer ID": None},
        LINE | {"Quantity": -1, "Price": 0.0},
    ]
    ws = whole(tmp_path, "online_retail", "transactions", lines)
    silver = ws.lake.read("silver/transactions").sort_by("position").to_pylist()
    assert [(row["kind"], row["amount_minor"], row["source_id"]) for row in silver] == [
        ("order", 101, "13085"),
        ("order", 101, "13085"),
        ("refund", 101, "13085"),
        ("adjustment", -5359436, None),
        ("adjustment", 0, "13085"),
    ]
    assert len({row["event_id"] for row in silver}) == 5


def steps() -> list[dict[str, object]]:
    """Return a short dialogue as the wizard's tool logged it, in its order."""
    told = [
        ("UserGuide", "instruct", None, "Ask for your bill.", 0),
        ("User", "utter", None, "Where is my bill? Mail me at a.b@example.com", 5),
        ("Wizard", "select_task", None, None, 9),
        ("Wizard", "query", None, None, 11),
        ("KnowledgeBase", "return_item", None, None, None),
        ("Wizard", "request_suggestions", None, "it is sent", 12),
        ("Wizard", "pick_suggestion", "inform_bill", "Your bill was sent.", 12),
        ("Wizard", "utter", None, "Anything else?", 20),
        ("User", "complete", None, None, 30),
    ]
    return [
        {"dialogue_id": 7, "user_id": "u1", "i": i, "agent": agent, "action": action, "action_label": label,
         "options": label and f"{label}|goodbye", "text": text,
         "ts": None if second is None else datetime(2026, 5, 25, 9, 0, second, tzinfo=UTC)}
        for i, (agent, action, label, text, second) in enumerate(told)
    ]  # fmt: skip


CHAT = {
    "event_id": "1", "source_id": "C1", "event_time": "2026-05-25T09:00:05Z", "channel": "chat", "thread_id": "7",
    "author_role": "customer", "visibility": "public", "text": "hello", "action": "",
    "exported_at": "2026-05-25T10:00:00Z",
}  # fmt: skip


def test_chats_of_any_source_have_one_schema(tmp_path: Path) -> None:
    """That of the contract, whether an adapter of its own reads them or the company file maps them."""
    own = whole(tmp_path / "own", "star", "interactions", steps()).lake.read("silver/interactions")
    mapped = workspace(tmp_path / "mapped", source("interactions", list(CHAT), adapter="jsonl"))
    deliver(tmp_path / "mapped", f"interactions-{NIGHT}.jsonl", [CHAT])
    ingest(mapped, NIGHT)
    gate(mapped, NIGHT)
    assert mapped.lake.schema("silver/interactions") == own.schema
    assert {column.name for column in CONTRACTS["interactions"].all_columns} <= set(own.column_names)
    assert own.schema.field("event_time").type == pa.timestamp("us", "UTC")
    for name in ("author_role", "event_time", "thread_id"):
        assert own[name].null_count == 0


def test_a_chat_becomes_turns_with_speaker_and_time(tmp_path: Path) -> None:
    """Every step is kept, in the order of the dialogue whatever the order of the file."""
    silver = whole(tmp_path, "star", "interactions", steps()[::-1]).lake.read("silver/interactions")
    rows = silver.sort_by("event_id").to_pylist()
    turns = [(row["author_role"], row["visibility"], row["action"], row["event_time"].second) for row in rows]
    assert turns == [
        ("bot", "private", "instruct", 0),
        ("customer", "public", None, 5),
        ("agent", "private", "select_task", 9),
        ("agent", "private", "query", 11),
        ("bot", "private", "return_item", 11),
        ("agent", "private", "request_suggestions", 12),
        ("agent", "public", "inform_bill", 12),
        ("agent", "public", "utter", 20),
        ("customer", "private", None, 30),
    ]
    said = [row["text"] for row in rows]
    assert said[:2] == [None, "Where is my bill? Mail me at <email>"]
    assert said[6:] == ["Your bill was sent.", "Anything else?", None]
    assert {(row["channel"], row["thread_id"], row["source_id"]) for row in rows} == {("chat", "7", "u1")}
    assert all(row["ingested_at"] == row["event_time"] for row in rows)


def test_later_steps_of_a_dialogue_change_no_earlier_one(tmp_path: Path) -> None:
    """A dialogue that is cut short reads as the beginning of the whole one; without a worker it is its own customer."""
    nobody = [row | {"user_id": None} for row in steps()]
    read = {}
    for n in (5, 9):
        silver = whole(tmp_path / str(n), "star", "interactions", nobody[:n]).lake.read("silver/interactions")
        read[n] = silver.drop_columns(["file", "position"]).sort_by("event_id").to_pylist()
    assert read[5] == read[9][:5]
    assert {row["source_id"] for row in read[9]} == {"dialogue-7"}


def test_a_longer_file_in_the_place_of_a_whole_history_adds_only_what_is_new(tmp_path: Path) -> None:
    """Other order, same rows: bronze keeps its closed nights and takes the later ones."""
    ws = whole(tmp_path, "online_retail", "transactions", [LINE, LINE])
    later = LINE | {"InvoiceDate": datetime(2026, 5, 26, 9, tzinfo=UTC)}
    end = LINE | {"InvoiceDate": datetime(2026, 5, 27, 9, tzinfo=UTC)}
    deliver(tmp_path, "file.parquet", [end, later, LINE, LINE, LINE])
    assert last_night(ws) == date(2026, 5, 26)
    ingest(ws, date(2026, 5, 26))
    stamps = ws.lake.read("bronze/log").sort_by("_ingested_at")["_ingested_at"].to_pylist()
    assert [f"{stamp:%d %H}" for stamp in stamps] == ["25 09", "25 09", "26 00", "26 09"]


def test_the_availability_is_the_declared_time_with_lag_and_shift(tmp_path: Path) -> None:
    """A time that cannot be read is that of the row before it; no row of a nightly file leaves its night."""
    rows = [
        ORDER | {"exported_at": t} for t in ("2026-05-11T10:00:00", "soon", "2026-05-11T23:59:00+00:00", "2026-05-10")
    ]
    ws = workspace(tmp_path, source("transactions", list(ORDER), lag="5m", shift_weeks=2))
    deliver(tmp_path, f"transactions-{NIGHT}.csv", rows)
    assert (first_night(ws), last_night(ws)) == (NIGHT, NIGHT)
    ingest(ws, NIGHT)
    stamps = ws.lake.read("bronze/transactions").sort_by("_position")["_ingested_at"].to_pylist()
    assert [f"{stamp:%d %H:%M}" for stamp in stamps] == ["25 10:05", "25 10:05", "25 23:59", "25 00:00"]


def test_words_and_constants_of_the_company_file_are_applied(tmp_path: Path) -> None:
    """A word that is not listed stays as it came."""
    told = source("transactions", [c for c in ORDER if c != "currency"])
    told += '[sources.constants]\ncurrency = "EUR"\n[sources.values.kind]\nsale = "order"\n'
    ws = workspace(tmp_path, told)
    deliver(
        tmp_path, f"transactions-{NIGHT}.csv", [ORDER | {"kind": "sale"}, ORDER | {"event_id": "2", "kind": "refund"}]
    )
    ingest(ws, NIGHT)
    gate(ws, NIGHT)
    silver = ws.lake.read("silver/transactions").sort_by("position")
    assert silver["kind"].to_pylist() == ["order", "refund"]
    assert silver["currency"].to_pylist() == ["EUR", "EUR"]
