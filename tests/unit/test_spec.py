"""The spec language: what it refuses, and what makes a new version of a definition."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from features.catalogue import groups_of, standard
from features.declare.clashes import refuse_clashes
from features.declare.entity import CUSTOMER, QUEUE, TICKET
from features.declare.expression_types import type_of
from features.declare.feature import Derived, ratio
from features.declare.group import Group
from features.declare.measure import Expect, Measure
from features.declare.request import Request
from features.declare.terms import Term, coalesce, col, when
from infra.company.company import Company
from infra.company.source import Source
from rapport_feast.errors import Rejected

ORDERS = Measure("orders", "count", ("7d", "30d"), meaning="orders")
SPEND = Measure("spend", "sum", ("30d",), col("amount_minor"), meaning="spend")
MOOD = Measure("mood", "decayed", ("30d",), col("amount_minor"), half_life="7d")
TREND = ratio("customer__trend", "customer__orders__7d", "customer__orders__30d")
ORDERED = col("customer__orders__7d")


def group(*measures: Measure, derived: tuple[Derived, ...] = (), **overrides: Any) -> Group:
    stated: dict[str, Any] = {"entity": CUSTOMER, "fact": "transactions"} | overrides
    return Group("g", "", "owner", measures=measures, derived=derived, **({"purpose": "service"} | stated))


def request(*derived: Derived, **overrides: Any) -> Request:
    stated: dict[str, Any] = {"fact": "interactions", "inputs": ("text", "channel"), "purpose": "service"} | overrides
    return Request("r", "", "owner", derived=derived, **stated)


def test_names_dtypes_and_columns_follow_from_measures() -> None:
    spend = Measure("spend", "mean", ("24h",), col("amount_minor"), col("kind") == "order")
    product = Measure("product", "last", ("90d",), col("product"))
    halves = Measure("halves", "sum", ("1h",), col("quantity") / 2, scale=10)
    again = Derived("customer__again", when(col("customer__trend") > 0.5, "yes", "no"))
    declared = group(ORDERS, spend, product, halves, derived=(again, TREND))
    assert [(f.name, f.dtype) for f in declared.outputs] == [
        ("customer__orders__7d", "int64"),
        ("customer__orders__30d", "int64"),
        ("customer__spend__24h", "float64"),
        ("customer__product__90d", "string"),
        ("customer__halves__1h", "float64"),
        ("customer__again", "string"),
        ("customer__trend", "float64"),
    ]
    assert [one.name for one in declared.ordered] == ["customer__trend", "customer__again"]
    assert declared.columns == {"amount_minor", "kind", "product", "quantity"}
    assert declared.longest.days == 90
    assert declared.refs()[0] == f"g_{declared.version}:customer__orders__7d"


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "unknown column": (
        lambda: group(replace(SPEND, of=col("amount"))),
        r"group g, spend, column: expected one of amount_minor, .*, found amount\.",
    ),
    "unknown column of a filter": (lambda: group(ORDERS, where=col("colour") == "red"), "column: .* found colour"),
    "unknown column of a derived feature": (
        lambda: group(ORDERS, derived=(ratio("x", "customer__orders__7d", "customer__orders__9d"),)),
        "derived feature x, column: .* found customer__orders__9d",
    ),
    "time of arrival": (lambda: group(replace(SPEND, of=col("ingested_at"))), "column: .* found ingested_at"),
    "label column": (
        lambda: group(ORDERS, fact="ticket_events", where=col("sla_met")),
        "expected no column of a label, found sla_met. It is known only after the end, so it can be no input",
    ),
    "label column of a request": (
        lambda: request(fact="ticket_events", inputs=("sla_met",)),
        "request r, column: expected no column of a label, found sla_met",
    ),
    "no window": (lambda: group(replace(ORDERS, windows=())), "orders, windows: .* found a measure without a time"),
    "window of no length": (lambda: group(replace(ORDERS, windows=("a month",))), "a whole number and s, m, h, d or w"),
    "window of a broken day": (
        lambda: group(replace(ORDERS, windows=("36h",))),
        "a window up to 24h, or of whole days",
    ),
    "short window": (lambda: group(replace(ORDERS, windows=("4m",))), "windows: expected 5m to 365d, found 0:04:00"),
    "long window": (lambda: group(replace(ORDERS, windows=("366d",))), "windows: expected 5m to 365d"),
    "short decay": (lambda: group(replace(MOOD, windows=("24h",))), "more than 24h, because decay weighs hops"),
    "hop of a broken day": (lambda: group(ORDERS, hop="7h"), "a day holds a whole number, such as 1h, found 7h"),
    "hop above a day": (lambda: group(ORDERS, hop="2d"), "a day holds a whole number, such as 1h, found 2d"),
    "half-life of a broken hop": (lambda: group(replace(MOOD, half_life="36h")), "whole hops for decayed, none"),
    "no half-life": (lambda: group(replace(MOOD, half_life="")), "whole hops for decayed, none for other kinds"),
    "half-life without decay": (lambda: group(replace(SPEND, half_life="7d")), "whole hops for decayed, none"),
    "measure twice": (lambda: group(ORDERS, ORDERS), "expected every name once, found customer__orders__30d"),
    "window twice": (
        lambda: group(replace(ORDERS, windows=("7d", "7d"))),
        "every name once, found customer__orders__7d",
    ),
    "name of a measure twice": (
        lambda: group(ORDERS, replace(ORDERS, windows=("90d",))),
        "group g: expected every name once, found orders",
    ),
    "derived feature twice": (lambda: group(ORDERS, derived=(TREND, TREND)), "every name once, found customer__trend"),
    "input twice": (lambda: request(inputs=("text", "text")), "request r: expected every name once, found text"),
    "feature twice in the catalogue": (
        lambda: refuse_clashes([group(ORDERS), replace(group(ORDERS), name="h")]),
        "catalogue, features: expected every name once, found customer__orders__30d",
    ),
    "group twice in the catalogue": (
        lambda: refuse_clashes([group(ORDERS), group(SPEND)]),
        "catalogue, groups: expected every name once, found g",
    ),
    "cycle": (
        lambda: group(ORDERS, derived=(Derived("a", col("b") + ORDERED), Derived("b", col("a") + 1))),
        "group g: expected derived features without a cycle, found a -> b -> a|found b -> a -> b",
    ),
    "feature of itself": (
        lambda: group(ORDERS, derived=(Derived("a", col("a") + 1),)),
        "without a cycle, found a -> a",
    ),
    "purpose nobody declared": (
        lambda: group(ORDERS, purpose="curiosity"),
        "purpose: expected one of service, personalisation, marketing, research, found curiosity",
    ),
    "purpose of a request": (lambda: request(purpose="curiosity"), "request r, purpose: .* found curiosity"),
    "unknown fact": (lambda: group(ORDERS, fact="weather"), "group g, fact: expected one of customers, .* weather"),
    "fact without the entity": (lambda: group(ORDERS, entity=TICKET), "a fact that names a ticket, found transactions"),
    "fact without a queue": (lambda: group(ORDERS, entity=QUEUE), "a fact that names a queue, found transactions"),
    "nothing measured": (lambda: group(), "group g: expected at least one measure, found none"),
    "sum of nothing": (
        lambda: group(replace(ORDERS, kind="sum")),
        "what sum needs: a column or expression, found none",
    ),
    "count of something": (lambda: group(replace(ORDERS, of=col("kind"))), "what count needs: none, found one"),
    "share of a number": (lambda: group(replace(SPEND, kind="share")), "of: expected a condition, found integer"),
    "sum of texts": (lambda: group(replace(SPEND, of=col("kind"))), "spend, of: expected a number, found text"),
    "sum of decimals": (
        lambda: group(replace(SPEND, of=col("amount_minor") / 3)),
        "a scale above 1, because sums are whole numbers, found none",
    ),
    "scale below 1": (lambda: group(replace(SPEND, scale=0)), "scale: expected 1, or more for a kind that adds"),
    "scaled text": (
        lambda: group(Measure("last", "last", ("7d",), col("product"), scale=10)),
        "scale: expected 1, or more for a kind that adds or compares numbers, found 10",
    ),
    "last decimal": (
        lambda: group(Measure("last", "last", ("7d",), col("amount_minor") / 2)),
        "of: expected a text or a whole number, found decimal",
    ),
    "filter that is no condition": (
        lambda: group(replace(ORDERS, where=col("kind"))),
        "where: expected a condition, found text",
    ),
    "group's filter that is no condition": (
        lambda: group(ORDERS, where=col("quantity") + 1),
        "where: expected a condition, found integer",
    ),
    "text and number compared": (
        lambda: group(ORDERS, where=col("kind") == 1),
        "expression ==: expected values of one type",
    ),
    "text among numbers": (
        lambda: group(ORDERS, where=col("quantity").isin("1")),
        "expression in: expected values of one",
    ),
    "sum of text and number": (
        lambda: group(replace(SPEND, of=col("kind") + col("quantity"))),
        r"expression \+: expected decimal or integer, found text",
    ),
    "share of texts": (lambda: group(replace(SPEND, of=col("kind") / 2)), "expression /: expected decimal or integer"),
    "conjunction of numbers": (
        lambda: group(ORDERS, where=(col("quantity") + 1) & (col("kind") == "order")),
        "expression and: expected boolean, found integer",
    ),
    "choice by a number": (
        lambda: group(replace(SPEND, of=when(col("quantity"), 1, 0))),
        "expression when: expected boolean, found integer",
    ),
    "choice of text or number": (
        lambda: group(replace(SPEND, of=when(col("kind") == "order", "1", 0))),
        "expression when: expected values of one type, found text, integer",
    ),
    "number or text": (
        lambda: group(replace(SPEND, of=coalesce(col("quantity"), "none"))),
        "expression coalesce: expected values of one type, found integer, text",
    ),
    "length of a number": (
        lambda: group(replace(SPEND, of=col("quantity").length())),
        "expression length: expected text",
    ),
    "words of a number": (lambda: group(replace(SPEND, of=col("quantity").words())), "expression words: expected text"),
    "pattern in a number": (
        lambda: group(ORDERS, where=col("quantity").matches("1")),
        "expression matches: expected text",
    ),
    "hour of a text": (
        lambda: group(replace(SPEND, of=col("kind").hour())),
        "expression hour: expected time, found text",
    ),
    "constant that is none": (lambda: col("kind") == None, "expression: expected a column, expression, text"),  # noqa: E711
    "derived condition": (
        lambda: group(ORDERS, derived=(Derived("x", ORDERED > 1),)),
        r"derived feature x: expected a number or a text; when\(condition, 1, 0\) for a condition, found boolean",
    ),
    "feature of another input": (
        lambda: request(Derived("x", col("action").length())),
        "derived feature x, column: expected one of channel, text, found action",
    ),
    "request of an unknown fact": (lambda: request(fact="weather"), "request r, fact: .* found weather"),
    "unknown input": (lambda: request(inputs=("mood",)), "request r, column: .* found mood"),
}


@pytest.mark.parametrize("bad", REFUSED)
def test_a_bad_definition_is_refused_in_one_sentence(bad: str) -> None:
    declare, sentence = REFUSED[bad]
    with pytest.raises(Rejected, match=sentence) as refused:
        declare()
    assert str(refused.value).count("\n") == 0
    assert refused.value.found or refused.value.remedy


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (col("n") + 1, "integer"),
        (col("n") + 0.5, "decimal"),
        (col("n") / 2, "decimal"),
        (when(col("n") > 1, 1, 0.5), "decimal"),
        (coalesce(col("t"), "none"), "text"),
        (col("t").matches("a") | ~(col("t") == "b"), "boolean"),
        (col("t").isnull(), "boolean"),
        (col("at").weekday() - col("at").hour(), "integer"),
        (col("t").words() * col("t").length(), "integer"),
    ],
)
def test_expressions_have_a_type(value: Term, type_: str) -> None:
    assert type_of(value, {"n": "integer", "t": "text", "at": "time"}) == type_


def test_the_version_follows_what_changes_values_and_nothing_else() -> None:
    declared = group(ORDERS, SPEND, MOOD, derived=(TREND,))
    same = (
        replace(declared, description="other words", owner="another", purpose="research", pii="personal"),
        replace(declared, name="h", served="live", live_lag="5m", freshness=declared.longest),
        group(replace(ORDERS, meaning="more", default=3, expect=Expect(most=9)), SPEND, MOOD, derived=(TREND,)),
        group(ORDERS, SPEND, MOOD, derived=(replace(TREND, meaning="more", default=0.5),)),
    )
    for one in same:
        assert one.version == declared.version
    other = (
        group(replace(ORDERS, windows=("7d", "31d")), SPEND, MOOD, derived=()),
        group(replace(ORDERS, where=col("kind") == "order"), SPEND, MOOD, derived=(TREND,)),
        group(replace(ORDERS, where=col("kind") != "order"), SPEND, MOOD, derived=(TREND,)),
        group(replace(ORDERS, empty=-1), SPEND, MOOD, derived=(TREND,)),
        group(ORDERS, replace(SPEND, scale=10), MOOD, derived=(TREND,)),
        group(ORDERS, replace(SPEND, of=col("amount_minor") + 1), MOOD, derived=(TREND,)),
        group(ORDERS, SPEND, replace(MOOD, half_life="8d"), derived=(TREND,)),
        group(ORDERS, SPEND, MOOD, derived=(replace(TREND, empty=0.0),)),
        replace(declared, hop="6h"),
        replace(declared, where=col("kind") == "order"),
    )
    assert len({declared.version, *(one.version for one in other)}) == len(other) + 1


def test_a_request_reads_only_its_inputs() -> None:
    length = Derived("message__length", col("text").length())
    declared = request(length, Derived("message__long", when(col("message__length") > 9, 1, 0)))
    assert [(f.name, f.dtype) for f in declared.outputs] == [("message__length", "int64"), ("message__long", "int64")]
    assert request(replace(length, empty=0)).version != request(length).version
    assert replace(request(length), description="other").view == request(length).view


def test_groups_without_a_source_are_left_out() -> None:
    source = Source(name="shop", adapter="csv", fact="transactions", path="orders.csv", id_space="crm")
    company = Company(name="c", title="", sources=(source,))
    assert [g.name for g in groups_of(company)] == ["customer_orders"]


def test_the_catalogue_uses_many_kinds() -> None:
    features = [feature for one in standard().declared for feature in one.outputs]
    counts = [
        name for one in standard().groups for name, (measure, _) in one.measured.items() if measure.kind == "count"
    ]
    assert len(standard().groups) >= 8
    assert len(features) >= 60
    assert len(counts) <= len(features) / 2
    assert {g.entity.name for g in standard().groups} == {"customer", "ticket", "queue"}
    assert len({g.fact for g in standard().groups}) >= 6
    assert all(one.owner and one.purpose and one.description for one in standard().declared)
    assert all(feature.meaning for feature in features)


def test_a_group_is_found_by_name_and_by_view() -> None:
    orders = standard().group("customer_orders")
    assert standard().group(orders.view) is orders
    with pytest.raises(Rejected, match="one of customer_activity"):
        standard().group("orders")


def test_a_request_is_found_by_name_and_by_view() -> None:
    for one in standard().requests:
        assert standard().request(one.name) is standard().request(one.view) is one
    with pytest.raises(Rejected, match="request: expected one of"):
        standard().request("messages")
