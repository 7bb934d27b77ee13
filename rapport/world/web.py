"""The web site's feeds: clicks in sessions. What a customer looks at shows what moves them.

Who is logged in, or remembered, clicks under the customer's number; everybody else under the visitor's id of a device.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world.chance import Array, Floats, Ints, moments, numbered, occurrences, stream, whole, words
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.truth import Population, States

ACTIONS = ("page_view", "login", "product_use", "search")
PAGES = ("home", "shop", "offers", "pricing", "help", "status", "contact", "forum", "account")
LOGIN = ACTIONS.index("login")


@dataclass(frozen=True)
class Sessions:
    """Visits to the site in the order of time; each array has shape (sessions,)."""

    customer: Ints
    begin: Ints
    login: Array


def browse(settings: WorldSettings, people: Population, states: States) -> tuple[Sessions, pd.DataFrame]:
    """Draw the sessions and their clicks in the order of time; ``visit`` is the number of a click's session."""
    rng = stream(settings, "clicks")
    customer, day = occurrences(states.session_rate, rng)
    begin = moments(settings, day, rng)
    order = np.argsort(begin, kind="stable")
    customer, day, begin = customer[order], day[order], begin[order]
    count = np.minimum(rng.geometric(0.28, len(order)), 20)
    session = np.repeat(np.arange(len(order)), count)
    number = np.arange(len(session)) - np.repeat(np.cumsum(count) - count, count)
    who, when = customer[session], day[session]
    action = _actions(number, people.reliance[who], rng)
    duration = whole(np.exp(9.6 + 0.9 * rng.standard_normal(len(session))) * 1_000) // 1_000
    at = whole(begin[session] + number * 35_000_000 + rng.integers(0, 30_000_000, len(session)))
    rows = pd.DataFrame(
        {
            "customer_no": numbered("C", who, 6),
            "action": words(ACTIONS, action),
            "session": numbered("S", session),
            "page": words(PAGES, _pages(states, people, who, when, rng)),
            "duration_ms": np.minimum(duration, 3_600_000),
            "at": at,
            "visit": session,
        }
    ).sort_values("at", kind="stable", ignore_index=True)
    rows.insert(0, "click_id", numbered("K", np.arange(len(rows))))
    first = np.cumsum(count) - count
    return Sessions(customer, at[first], action[first] == LOGIN), rows


def feeds(clicks: pd.DataFrame, visitor: Array) -> tuple[Feed, Feed]:
    """Return the feed of the clicks of known customers and that of visitors.

    Parameters
    ----------
    clicks
        The clicks of ``browse``.
    visitor
        Per session the id of the visitor; None where the site knows the customer.
    """
    ids = visitor[clicks["visit"].to_numpy()]
    unknown, rows = pd.notna(ids), clicks.drop(columns="visit")
    visits = rows.rename(columns={"customer_no": "visitor"}).assign(visitor=ids)
    return _feed("web", "clicks", rows[~unknown]), _feed("visits", "visits", visits[unknown])


def _feed(source: str, file: str, rows: pd.DataFrame) -> Feed:
    spoils = ({"action": "hover"}, {"duration_ms": -5})
    path = f"web/{file}-{{night}}.parquet"
    return Feed(source, path, "click_id", "at", rows.reset_index(drop=True), spoils, _revise)


def _actions(number: Ints, reliance: Floats, rng: Generator) -> Ints:
    """Half of the sessions begin with a login; the self-reliant search and use more."""
    keen = np.exp(0.6 * reliance)
    luck = rng.random(len(number)) * (0.72 + 0.28 * keen)
    later = np.where(luck < 0.72, 0, np.where(luck < 0.72 + 0.16 * keen, 2, 3))
    return np.where((number == 0) & (rng.random(len(number)) < 0.5), 1, later)


def _pages(states: States, people: Population, who: Ints, when: Ints, rng: Generator) -> Ints:
    """Draw pages: offers and prices attract the price-sensitive, help those in trouble, the forum the self-reliant."""
    price, trouble = states.price_sensitivity[who, when], states.trouble[who, when]
    upset, reliance = states.frustration[who, when], people.reliance[who]
    pull = (
        np.full(len(who), 0.3), np.full(len(who), 0.2), 0.9 * price - 0.9, 0.8 * price - 1.3,
        0.5 * trouble + 0.5 * reliance - 0.9, 0.6 * trouble - 1.6, 0.5 * upset - 1.5, 0.9 * reliance - 1.1,
        np.full(len(who), -0.7),
    )  # fmt: skip
    weight: Array = np.cumsum(np.exp(np.stack(pull)), axis=0)
    return np.asarray((weight < rng.random(len(who)) * weight[-1]).sum(axis=0))


def _revise(rows: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """Measure the duration anew."""
    return rows.assign(duration_ms=rows["duration_ms"] + rng.integers(1, 5_000, len(rows)))
