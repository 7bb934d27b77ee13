"""The help desk's feed: lives of tickets. Complexity and frustration are hidden; reassignments and waits show them.

A ticket escalates by a hazard that grows with both, and with each reassignment, until it is resolved.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator

from rapport.world.chance import (
    DAY,
    Array,
    Floats,
    Ints,
    draw,
    moments,
    numbered,
    occurrences,
    stream,
    whole,
    words,
)  # fmt: skip
from rapport.world.faults import Feed
from rapport.world.settings import WorldSettings
from rapport.world.truth import Population, States
from rapport.world.words import CATEGORIES, PRODUCTS

TEAMS = ("billing", "logistics", "network", "repairs", "accounts", "first_line", "second_line")
CHANNELS = ("chat", "email", "call", "web", "app", "social")
SLA_DAYS = np.array([2.0, 3.0, 4.0, 6.0, 8.0])
MOST_MOVES = 4
HAZARD = 0.016
"""Escalations per day of an average ticket that nobody has reassigned."""
MOVED = 2.2
"""Factor of the hazard with each reassignment."""


@dataclass(frozen=True)
class Tickets:
    """Tickets in the order of their opening; times in days after it, infinite where it never happens."""

    customer: Ints
    day: Ints
    opened: Ints
    product: Ints
    category: Ints
    channel: Ints
    priority: Ints
    complexity: Floats
    frustration: Floats
    moves: Floats
    hazard: Floats
    probability: Floats
    escalated: Floats
    resolved: Floats

    def at(self, days: Floats) -> Ints:
        """Return moments in microseconds from days after the opening."""
        return whole(self.opened + days * DAY)


def open_tickets(settings: WorldSettings, people: Population, states: States) -> Tickets:
    """Draw the tickets and what becomes of them."""
    rng = stream(settings, "tickets")
    customer, day = occurrences(states.ticket_rate, rng)
    opened = moments(settings, day, rng)
    order = np.argsort(opened, kind="stable")
    customer, day, opened = customer[order], day[order], opened[order]
    n = len(customer)
    trouble, frustration = states.trouble[customer, day], states.frustration[customer, day]
    complexity = 0.5 * trouble + 0.85 * rng.standard_normal(n)
    urgent = 3.3 - 0.7 * complexity - 0.5 * (people.segment[customer] == 2) + 0.8 * rng.standard_normal(n)
    length = 0.15 + np.exp(np.log(2.5) + 0.4 * complexity + 0.55 * rng.standard_normal(n))
    moves = _moves(complexity, length, rng)
    hazard = HAZARD * np.exp(0.75 * complexity + 0.55 * frustration)
    escalated = _escalation(hazard, moves, rng.exponential(size=n))
    escalates = escalated < length
    return Tickets(
        customer, day, opened, rng.integers(0, len(PRODUCTS), n), rng.integers(0, len(CATEGORIES), n),
        rng.choice(len(CHANNELS), size=n, p=[0.34, 0.28, 0.14, 0.12, 0.08, 0.04]),
        np.clip(np.rint(urgent), 1, 5).astype(int), complexity, frustration,
        np.where(moves < np.minimum(escalated, length)[:, None], moves, np.inf), hazard,
        1 - np.exp(-_exposure(hazard, moves, length)), np.where(escalates, escalated, np.inf),
        np.where(escalates, escalated + 0.45 + np.exp(0.1 + 0.5 * rng.standard_normal(n)), length),
    )  # fmt: skip


def feed(settings: WorldSettings, tickets: Tickets) -> Feed:
    """Return the help desk's feed."""
    events = _events(tickets, stream(settings, "ticket events"))
    index, action = events["ticket"].to_numpy(), events["action"].to_numpy()
    late = tickets.resolved[index] > SLA_DAYS[tickets.priority[index] - 1]
    rows = pd.DataFrame(
        {
            "id": numbered("E", np.arange(len(events))),
            "ticket": numbered("T", index),
            "customer_no": numbered("C", tickets.customer[index], 6),
            "action": action,
            "priority": np.where(
                action == "escalated", np.maximum(tickets.priority[index] - 1, 1), tickets.priority[index]
            ),
            "category": words(CATEGORIES, tickets.category[index]),
            "team": events["team"].to_numpy(),
            "channel": words(CHANNELS, tickets.channel[index]),
            "sla_met": np.where(action == "closed", ~late, None),
            "at": events["at"].to_numpy(),
            "change_no": np.ones(len(events), int),
        }
    )
    spoils = ({"action": "teleported"}, {"priority": 9}, {"at": "last Tuesday"}, {"channel": "telegraph"})
    return Feed("helpdesk", "helpdesk/tickets-{night}.jsonl", "id", "at", rows, spoils, _revise)


def hidden(tickets: Tickets) -> pd.DataFrame:
    """Return the truth about the tickets, one row each."""
    return pd.DataFrame(
        {
            "ticket": numbered("T", np.arange(len(tickets.day))),
            "customer_no": numbered("C", tickets.customer, 6),
            "complexity": tickets.complexity,
            "daily_hazard": tickets.hazard,
            "escalation_probability": tickets.probability,
            "escalates": np.isfinite(tickets.escalated),
        }
    )


def _moves(complexity: Floats, length: Floats, rng: Generator) -> Floats:
    """Draw the days of reassignments, in order, infinite beyond the last; shape (tickets, MOST_MOVES)."""
    count = np.minimum(rng.poisson(0.2 * np.exp(0.8 * complexity) * length), MOST_MOVES)
    days = np.where(np.arange(MOST_MOVES) < count[:, None], rng.random((len(length), MOST_MOVES)), np.inf)
    return np.sort(0.1 + days * 0.9 * length[:, None], axis=1)


def _steps(hazard: Floats, moves: Floats) -> list[tuple[Floats, Floats, Floats]]:
    """Return (hazard, from day, to day) of each stretch between reassignments."""
    edges = np.column_stack([np.full(len(hazard), 0.25), np.maximum(moves, 0.25), np.full(len(hazard), np.inf)])
    return [(hazard * MOVED**k, edges[:, k], edges[:, k + 1]) for k in range(MOST_MOVES + 1)]


def _exposure(hazard: Floats, moves: Floats, until: Floats) -> Floats:
    """Return the hazard gathered until a day."""
    parts = [
        rate * np.maximum(np.minimum(end, until) - np.minimum(begin, until), 0)
        for rate, begin, end in _steps(hazard, moves)
    ]
    return np.asarray(sum(parts))


def _escalation(hazard: Floats, moves: Floats, threshold: Floats) -> Floats:
    """Return the day on which the gathered hazard reaches a threshold."""
    left, day = threshold.copy(), np.full(len(hazard), np.inf)
    for rate, begin, end in _steps(hazard, moves):
        begun = np.isfinite(begin)
        span = np.where(begun, end - np.where(begun, begin, 0), 0.0)
        here = begun & np.isinf(day) & (left <= rate * span)
        day = np.where(here, begin + left / rate, day)
        left = left - np.where(here, 0, np.where(np.isfinite(span), rate * span, 0))
    return day


def _events(tickets: Tickets, rng: Generator) -> pd.DataFrame:
    """Return every step of every ticket in the order of time."""
    n = len(tickets.day)
    everyone, never = np.arange(n), np.full(n, np.inf)
    first = np.minimum(rng.exponential(0.05, n) + 0.002, 0.09)
    taken = tickets.escalated + np.minimum(rng.exponential(0.05, n) + 0.002, 0.4)
    closed = tickets.resolved + rng.uniform(0.5, 3.0, n)
    again = rng.random(n) < 0.07
    reopened = np.where(again, tickets.resolved + rng.uniform(0.1, 0.45, n), never)
    second = reopened + rng.uniform(0.3, 3.0, n)
    updates = np.where(np.arange(3) < rng.poisson(0.14 * tickets.resolved)[:, None], rng.random((n, 3)), np.inf)
    home = tickets.category % 5
    parts = [
        _part(tickets, "opened", np.zeros(n), np.full(n, 5)),
        _part(tickets, "assigned", first, home),
        *(_part(tickets, "assigned", tickets.moves[:, k], (home + 1 + k + everyone) % 6) for k in range(MOST_MOVES)),
        *(_part(tickets, "updated", 0.1 + updates[:, k] * (tickets.resolved - 0.1), home) for k in range(3)),
        _part(tickets, "escalated", tickets.escalated, home),
        _part(tickets, "assigned", taken, np.full(n, 6)),
        _part(tickets, "resolved", tickets.resolved, home),
        _part(tickets, "reopened", reopened, np.full(n, 5)),
        _part(tickets, "resolved", second, home),
        _part(tickets, "closed", np.where(again, second + closed - tickets.resolved, closed), home),
    ]
    return pd.concat(parts, ignore_index=True).sort_values("at", kind="stable", ignore_index=True)


def _part(tickets: Tickets, action: str, days: Floats, team: Array) -> pd.DataFrame:
    ticket = np.flatnonzero(np.isfinite(days))
    at = whole(tickets.opened[ticket] + days[ticket] * DAY)
    return pd.DataFrame({"ticket": ticket, "action": action, "at": at, "team": words(TEAMS, team[ticket])})


def _revise(rows: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """Correct the category, under the next revision number."""
    return rows.assign(
        category=draw(CATEGORIES, (1,) * len(CATEGORIES), len(rows), rng), change_no=rows["change_no"] + 1
    )
