"""The desk's feed: what agents did for customers, how likely they were to do it, and what came of it.

The logging policy looks at what an agent sees (recent orders, tickets, negative words) and reads it imperfectly;
the reward follows from the hidden type of the customer, so a learned policy can do better.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world.chance import (
    DAY,
    OFFICE,
    Array,
    Floats,
    Ints,
    moments,
    numbered,
    occurrences,
    stream,
    trailing,
    whole,
    words,
)
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.truth import ACTIONS, BASE, EFFECTS, TYPES, States

POLICIES = ("desk", "playbook")
LEAST = 0.06
"""Probability that every action has at least."""
STEADINESS = 5.0
"""The larger, the closer is a reward to its expectation."""


@dataclass(frozen=True)
class Seen:
    """What an agent sees of each customer on each day; counts of shape (customers, days)."""

    orders: Floats
    tickets: Floats
    grumbles: Floats


@dataclass(frozen=True)
class Decisions:
    """Decisions in the order of time; each array has shape (decisions,)."""

    customer: Ints
    at: Ints
    policy: Ints
    choice: Ints
    propensity: Floats
    type: Ints

    @property
    def expected(self) -> Floats:
        """True expected reward of every action; shape (decisions, actions)."""
        return np.asarray(BASE[self.type][:, None] + EFFECTS[self.type])


def decide(settings: WorldSettings, states: States, seen: Seen) -> Decisions:
    """Draw when decisions are taken and which action is chosen."""
    rng = stream(settings, "decisions")
    recent, upset = trailing(seen.tickets, 14), trailing(seen.grumbles, 14)
    rate = (
        np.where(states.session_rate > 0, 0.0145, 0.0)
        * np.where(states.active, 1.0, 0.4)
        * (1 + 0.9 * np.minimum(recent, 2))
    )
    customer, day = occurrences(rate, rng)
    at = moments(settings, day, rng, OFFICE)
    order = np.argsort(at, kind="stable")
    customer, day, at = customer[order], day[order], at[order]
    policy = (rng.random(len(at)) < 0.35).astype(int)
    cell = (customer, day)
    odds = _propensities(trailing(seen.orders, 30)[cell], recent[cell], upset[cell], policy)
    choice = (np.cumsum(odds, axis=1) < rng.random(len(at))[:, None]).sum(axis=1).clip(0, len(ACTIONS) - 1)
    return Decisions(customer, at, policy, choice, odds[np.arange(len(at)), choice], states.type[cell])


def action_feed(settings: WorldSettings, decisions: Decisions) -> Feed:
    """Return the feed of what was decided."""
    n = len(decisions.at)
    offers = ["|".join(ACTIONS[k:] + ACTIONS[:k]) for k in range(len(ACTIONS))]
    rows = pd.DataFrame(
        {
            "decision_id": numbered("D", np.arange(n)),
            "customer_no": numbered("C", decisions.customer, 6),
            "policy": words(POLICIES, decisions.policy),
            "candidates": words(offers, np.arange(n) % len(offers)),
            "choice": words(ACTIONS, decisions.choice),
            "propensity": decisions.propensity,
            "decided_at": decisions.at,
        }
    )
    spoils = ({"propensity": 1.4}, {"decided_at": "soon"})
    return Feed("actions", "decisions/actions-{night}.jsonl", "decision_id", "decided_at", rows, spoils)


def outcome_feed(settings: WorldSettings, decisions: Decisions) -> Feed:
    """Return the feed of rewards: measured within four and a half days, known within seven."""
    rng, n = stream(settings, "outcomes"), len(decisions.at)
    mean = decisions.expected[np.arange(n), decisions.choice]
    measured = whole(decisions.at + rng.uniform(0.5, 4.5, n) * DAY)
    rows = pd.DataFrame(
        {
            "outcome_id": numbered("O", np.arange(n)),
            "decision_id": numbered("D", np.arange(n)),
            "customer_no": numbered("C", decisions.customer, 6),
            "kind": np.full(n, "reward", dtype=object),
            "value": np.round(rng.beta(STEADINESS * mean, STEADINESS * (1 - mean)), 4),
            "measured_at": measured,
        }
    )
    spoils = ({"kind": "applause"}, {"measured_at": "never"}, {"value": np.nan})
    path = "decisions/outcomes-{night}.jsonl"
    return Feed("outcomes", path, "outcome_id", "measured_at", rows, spoils, _revise, latest=2.0)


def hidden(decisions: Decisions) -> pd.DataFrame:
    """Return the truth about the decisions, one row each."""
    expected = decisions.expected
    columns = {
        "decision_id": numbered("D", np.arange(len(expected))),
        "customer_no": numbered("C", decisions.customer, 6),
        "type": words(TYPES, decisions.type),
        "best": words(ACTIONS, expected.argmax(axis=1)),
    }
    return pd.DataFrame(columns | {f"expected_{name}": expected[:, k] for k, name in enumerate(ACTIONS)})


def _propensities(orders: Floats, tickets: Floats, grumbles: Floats, policy: Ints) -> Floats:
    """Softmax over preferences, mixed with a floor; shape (decisions, actions)."""
    few = np.minimum(orders, 3)
    preference = np.stack(
        [
            0.2 + 0.15 * few,
            0.6 - 0.2 * few + 0.1 * np.minimum(tickets, 2),
            -0.2 + 0.35 * np.minimum(tickets, 2) + 0.1 * np.minimum(grumbles, 3),
            0.2 + 0.2 * np.minimum(tickets, 2) - 0.1 * np.minimum(grumbles, 3),
        ],
        axis=1,
    )
    weight: Array = np.exp(preference * np.where(policy == 1, 1.6, 0.8)[:, None])
    return np.asarray(LEAST + (1 - len(ACTIONS) * LEAST) * weight / weight.sum(axis=1, keepdims=True))


def _revise(rows: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """Read the reward anew: it was rounded."""
    return rows.assign(value=np.clip(np.round(rows["value"] + rng.choice((-0.01, 0.01), len(rows)), 4), 0, 1))
