"""The suite of a feature table: made of what is declared, judged before anything is written."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features.catalogue import standard
from features.compute.build import build
from features.compute.outputs import schema_of
from features.compute.suite import FILLED, KEYS, ROWS, declared, judge, rules_of
from features.compute.tables import features_table
from features.declare.entity import CUSTOMER
from features.declare.feature import ratio
from features.declare.group import Group
from features.declare.measure import Expect, Measure
from features.declare.terms import col
from infra.clock import FixedClock, Nights, cutoff
from infra.company.company import Company
from infra.company.source import Source
from infra.lake.commit import Commit
from infra.settings import Settings
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from validation.gate.table_rules import Between, Equal

NIGHT, NEXT = date(2026, 5, 25), date(2026, 5, 26)
Row = dict[str, Any]


def group(*, most: float = 5) -> Group:
    orders = Measure("orders", "count", ("7d", "30d"), meaning="orders", expect=Expect(0, most, filled=1))
    last = Measure("product", "last", ("30d",), col("product"), meaning="product", expect=Expect(filled=0.5))
    trend = ratio("customer__trend", "customer__orders__7d", "customer__orders__30d", "trend", expect=Expect(0, 1))
    return Group("g", "", "o", "service", CUSTOMER, "transactions", (orders, last), (trend,))


def row(key: str | None, night: date, **values: Any) -> Row:
    features = {"customer__orders__7d": 1, "customer__orders__30d": 2, "customer__product__30d": "a"}
    times = {"event_time": cutoff(night), "known_at": cutoff(night), "night": night}
    return {"customer_id": key, **times, **features, "customer__trend": 0.5, **values}


GOOD = [row(key, night) for key in ("A", "B") for night in (NIGHT, NEXT)]
LATER = cutoff(NEXT) + timedelta(seconds=1)
BAD: dict[str, tuple[list[Row], str]] = {
    "too much": ([row("C", NEXT, customer__orders__7d=6)], r"customer__orders__7d, night 2026-05-26.*at most 5.*6"),
    "too little": ([row("C", NIGHT, customer__trend=-0.25)], r"customer__trend, night 2026-05-25.*at least 0.*-0\.25"),
    "a gap where there may be none": (
        [row("C", NIGHT, customer__orders__30d=None)],
        "filled part of customer__orders__30d, night 2026-05-25.*at least 1",
    ),
    "more than half are gaps": (
        [row(key, NEXT, customer__product__30d=None) for key in "CDE"],
        r"filled part of customer__product__30d, night 2026-05-26.*at least 0\.5.*0\.4",
    ),
    "a key twice": ([row("A", NEXT)], "number of different keys, night 2026-05-26.*the same as number of rows.*2"),
    "no key": ([row(None, NEXT)], "number of different keys, night 2026-05-26"),
    "another time": ([row("C", NEXT, event_time=LATER)], "event_time, night 2026-05-26.*the same as cutoff"),
    "known later": ([row("C", NEXT, known_at=LATER)], "known_at, night 2026-05-26.*the same as cutoff"),
}


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema_of(group()))


def test_rules_follow_from_the_declaration() -> None:
    assert rules_of(group()) == (
        Equal(KEYS, ROWS),
        Equal("event_time", "cutoff of the night"),
        Equal("known_at", "cutoff of the night"),
        Between("customer__orders__7d", 0, 5),
        Between(FILLED.format("customer__orders__7d"), 1, None),
        Between("customer__orders__30d", 0, 5),
        Between(FILLED.format("customer__orders__30d"), 1, None),
        Between(FILLED.format("customer__product__30d"), 0.5, None),
        Between("customer__trend", 0, 1),
    )
    assert declared(group()) != declared(group(most=6))


def test_a_passing_suite_returns_its_ranges() -> None:
    found = judge(group(), table([*GOOD, row("C", NEXT, customer__orders__7d=0, customer__trend=None)]))
    assert {name: found[name] for name in ("rules", "rows", "nights")} == {"rules": 9, "rows": 5, "nights": 2}
    assert found["found"]["customer__orders__7d"] == {"least": 0, "most": 1}
    assert judge(group(), table([]))["rows"] == 0


@pytest.mark.parametrize("case", BAD)
def test_a_broken_rule_is_refused_with_feature_bound_and_value(case: str) -> None:
    rows, sentence = BAD[case]
    with pytest.raises(Rejected, match=sentence):
        judge(group(), table([*GOOD, *rows]))


def test_a_wrong_type_is_refused() -> None:
    rows = table(GOOD)
    at = rows.schema.get_field_index("customer__orders__7d")
    with pytest.raises(Rejected, match=r"g_.*, customer__orders__7d: expected int64, found double"):
        judge(group(), rows.set_column(at, "customer__orders__7d", rows["customer__orders__7d"].cast(pa.float64())))


@pytest.fixture
def shop(tmp_path: Path) -> Callable[[int], Workspace]:
    """Make a company with one order of an amount that came past the gate."""
    source = Source(name="shop", adapter="csv", fact="transactions", path="none", id_space="crm")
    company = Company(name="shop", title="", sources=(source,), identity={"crm": ""})

    def make(amount: int) -> Workspace:
        ws = Workspace(Settings(home=tmp_path), company, FixedClock(datetime(2026, 6, 1, tzinfo=UTC)))
        at = datetime(2026, 5, 25, 12, tzinfo=UTC)
        order = {
            "event_id": "shop:1", "source": "shop", "id_space": "crm", "source_id": "C1", "event_time": at,
            "ingested_at": at, "revision": 0, "retracted": False, "revises": False, "file": "f", "position": 0,
            "kind": "order", "order_id": "O1", "product": "lamp", "quantity": 1, "amount_minor": amount,
            "currency": "EUR", "known_day": NIGHT,
        }  # fmt: skip
        rows = pa.Table.from_pylist([order])
        ws.lake.replace("silver/transactions", rows, Commit(Nights(NIGHT, NIGHT)), partition="known_day")
        return ws

    return make


def test_a_night_that_breaks_its_suite_is_not_written(shop: Callable[[int], Workspace]) -> None:
    orders = standard().group("customer_orders")
    ws = shop(-500)
    with pytest.raises(Rejected, match=rf"{orders.view}, customer__spend__30d, night {NIGHT}.*at least 0.*-500"):
        build(ws, NIGHT)
    assert not ws.lake.exists(features_table(orders))
    ws = shop(500)
    build(ws, NIGHT)
    (commit,) = ws.lake.commits(features_table(orders))
    assert commit.notes is not None
    suite = commit.notes["suite"]
    assert suite["rules"] == len(rules_of(orders))
    assert suite["found"]["customer__spend__30d"] == {"least": 500, "most": 500}
