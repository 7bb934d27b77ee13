"""The spec language: what it refuses, and what makes a new version of a definition."""

from dataclasses import replace

import pytest

from features.catalogue import CATALOGUE, group_named, groups_of
from features.spec import CUSTOMER, Group, Measure, Ratio, col
from infra.company import Company, Source
from infra.errors import Rejected

ORDERS = Measure("orders", "count", ("7d", "30d"), meaning="orders")
TREND = Ratio("customer__trend", "customer__orders__7d", "customer__orders__30d")


def group(*measures: Measure, derived: tuple[Ratio, ...] = ()) -> Group:
    return Group("g", "", "owner", "service", CUSTOMER, "transactions", measures, derived)


def test_names_dtypes_and_columns_follow_from_the_measures() -> None:
    spend = Measure("spend", "mean", ("24h",), col("amount_minor"), col("kind") == "order")
    declared = group(ORDERS, spend, derived=(TREND,))
    assert [(f.name, f.dtype) for f in declared.outputs] == [
        ("customer__orders__7d", "int64"),
        ("customer__orders__30d", "int64"),
        ("customer__spend__24h", "float64"),
        ("customer__trend", "float64"),
    ]
    assert declared.columns == {"amount_minor", "kind"}
    assert declared.longest.days == 30


@pytest.mark.parametrize(
    ("measures", "derived", "sentence"),
    [
        ((ORDERS, ORDERS), (), "every feature name once, found customer__orders__30d"),
        ((ORDERS,), (replace(TREND, under="customer__orders__9d"),), "a measured feature of the group"),
        ((replace(ORDERS, windows=("36h",)),), (), "a window up to 24h, or of whole days"),
        ((replace(ORDERS, windows=("a month",)),), (), "a whole number and s, m, h, d or w"),
        ((replace(ORDERS, kind="sum"),), (), "what sum needs"),
        ((replace(ORDERS, of=col("kind")),), (), "what count needs"),
    ],
)
def test_a_bad_definition_is_refused_in_one_sentence(
    measures: tuple[Measure, ...], derived: tuple[Ratio, ...], sentence: str
) -> None:
    with pytest.raises(Rejected, match=sentence):
        group(*measures, derived=derived)


def test_the_version_follows_what_changes_values_and_nothing_else() -> None:
    declared = group(ORDERS)
    assert replace(declared, description="other words", owner="another").version == declared.version
    assert group(replace(ORDERS, meaning="other words")).version == declared.version
    for changed in (
        replace(ORDERS, windows=("7d", "31d")),
        replace(ORDERS, where=col("kind") == "order"),
        replace(ORDERS, where=col("kind") != "order"),
    ):
        assert group(changed).version != declared.version


def test_the_catalogue_is_what_the_company_can_fill() -> None:
    source = Source(name="shop", adapter="csv", fact="transactions", path="orders.csv", id_space="crm")
    company = Company(name="c", title="", sources=(source,))
    assert [g.name for g in groups_of(company)] == ["customer_orders"]
    assert len(CATALOGUE) >= 5
    assert sum(len(g.outputs) for g in CATALOGUE) >= 25
    assert {g.entity.name for g in CATALOGUE} == {"customer", "ticket"}
    assert len({g.fact for g in CATALOGUE}) >= 4
    assert all(g.owner and g.purpose and g.description and all(f.meaning for f in g.outputs) for g in CATALOGUE)


def test_a_group_is_found_by_name_and_by_view() -> None:
    orders = group_named("customer_orders")
    assert group_named(orders.view) is orders
    with pytest.raises(Rejected, match="one of customer_activity"):
        group_named("orders")
