"""The shop's feed: order lines, refunds and changes of plan. Lapsed customers order nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world.chance import DAY, HOUR, Array, Ints, moments, numbered, occurrences, stream, whole, words
from rapport.world.crm import PLANS, Versions
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.truth import Population, States
from rapport.world.words import PRICES, SKUS

CURRENCIES = ("EUR", "EUR", "GBP", "EUR", "CHF")
"""By region of the customer."""
PLAN_PRICES = np.array([900, 1_900, 3_900])


@dataclass(frozen=True)
class Orders:
    """Orders, one entry each."""

    customer: Ints
    day: Ints
    at: Ints


def place(settings: WorldSettings, states: States) -> Orders:
    """Draw the orders in the order of time."""
    rng = stream(settings, "orders")
    customer, day = occurrences(states.order_rate, rng)
    at = moments(settings, day, rng)
    order = np.argsort(at, kind="stable")
    return Orders(customer[order], day[order], at[order])


def feed(settings: WorldSettings, people: Population, states: States, orders: Orders, versions: Versions) -> Feed:
    """Return the shop's feed."""
    rng = stream(settings, "order lines")
    lines = _lines(states, orders, rng)
    rows = pd.concat([lines, _refunds(lines, rng), _plan_changes(versions, len(orders.at))], ignore_index=True)
    rows = rows.sort_values("ordered_at", kind="stable", ignore_index=True)
    customer = rows.pop("customer").to_numpy()
    rows.insert(0, "line_id", numbered("L", np.arange(len(rows))))
    rows.insert(2, "customer_no", numbered("C", customer, 6))
    rows.insert(7, "currency", words(CURRENCIES, people.region[customer]))
    spoils: tuple[Mapping[str, str | float], ...] = (
        {"type": "order", "amount_minor": -1_999},
        {"ordered_at": "2026-13-40T25:61:00Z"},
        {"type": "barter"},
    )
    initial = numbered("C", people.initial, 6)
    path = "shop/orders-{night}.csv"
    return Feed("shop", path, "line_id", "ordered_at", rows, spoils, lambda some, dice: _revise(some, initial, dice))


def _lines(states: States, orders: Orders, rng: Generator) -> pd.DataFrame:
    """One to four lines an order; the price-sensitive buy less and cheaper."""
    count = np.minimum(1 + rng.poisson(0.3, len(orders.at)), 4)
    order = np.repeat(np.arange(len(orders.at)), count)
    customer, day = orders.customer[order], orders.day[order]
    thrift = states.price_sensitivity[customer, day]
    rank = np.clip(np.rint(5.5 - 1.8 * thrift + 3.2 * rng.standard_normal(len(order))), 0, len(SKUS) - 1).astype(int)
    sku = np.argsort(PRICES)[rank]
    quantity = 1 + rng.poisson(np.exp(-1.1 - 0.3 * thrift))
    price = np.round(np.asarray(PRICES)[sku] * (1 - 0.1 * (rng.random(len(order)) < 0.2)))
    return _rows(order, customer, "order", words(SKUS, sku), quantity, (price * quantity).astype(int), orders.at[order])


def _refunds(lines: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """About one line in 25 goes back within two weeks."""
    back = lines[rng.random(len(lines)) < 0.04]
    wait = whole(rng.uniform(2 * DAY, 15 * DAY, len(back)))
    return back.assign(type="refund", ordered_at=back["ordered_at"] + wait)


def _plan_changes(versions: Versions, orders: int) -> pd.DataFrame:
    where = np.flatnonzero(versions.plan_changed)
    plan = versions.codes["plan"][where]
    sku = np.array([f"PLAN-{name}" for name in PLANS], dtype=object)[plan]
    order = orders + np.arange(len(where))
    one, at = np.ones(len(where), int), versions.at[where] + 60_000_000
    return _rows(order, versions.customer[where], "plan_change", sku, one, PLAN_PRICES[plan], at)


def _rows(order: Ints, customer: Ints, kind: str, sku: Array, quantity: Ints, amount: Ints, at: Ints) -> pd.DataFrame:
    columns = {"order_no": numbered("R", order), "customer": customer, "type": kind, "sku": sku, "qty": quantity}
    return pd.DataFrame(columns | {"amount_minor": amount, "ordered_at": at})


def _revise(rows: pd.DataFrame, initial: Array, rng: Generator) -> pd.DataFrame:
    """Correct the amount; one in ten moves to an earlier time, one in ten to another customer."""
    luck = rng.random(len(rows))
    earlier = whole(rng.uniform(HOUR, 2 * DAY, len(rows)))
    other = initial[rng.integers(0, len(initial), len(rows))]
    return rows.assign(
        amount_minor=rows["amount_minor"] * 9 // 10,
        ordered_at=rows["ordered_at"] - np.where(luck < 0.1, earlier, 0),
        customer_no=np.where(luck > 0.9, other, rows["customer_no"]),
    )
